"""What still leads to a module that is unloaded: pointers into the memory that it had, in the kernel's own variables.

    holders                                      what is searched
    the kernel's .data and .bss                  heads of lists and tables of pointers: tty_ldiscs, console_list …
    the data of modules that are still loaded    the same
    cdev_map                                     lists of struct probe by major number (drivers/base/map.c)

A pointer that the kernel keeps by itself says nothing: the bounds of all modules (kernel/module/main.c), a place in the
tables of the unwinder (arch/x86/kernel/unwind_orc.c), the stack of the idle task. Nor does an address inside of a
function: the stack traces of KFENCE and lockdep are full of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from kobox.box.inspect.module_memory import ModuleMemory, parts_of
from kobox.box.inspect.objects import Objects
from kobox.box.inspect.symbols import Symbols
from kobox.errors import KoboxError

_MOST_BYTES = 64 << 20  # of one piece of memory: what a module has written into its structures may be anything
_REGIONS = (("_sdata", "_edata"), ("__bss_start", "__bss_stop"))
_REGION = (("_sdata", "_end"),)  # of a kernel that names no others (kobox/box/boot/hidden_symbols.py)
_SAYS_NOTHING = {  # the size of each, in bytes
    "mod_tree": 64,
    "module_addr_min": 8,
    "module_addr_max": 8,
    "execmem_info": 1024,  # where modules may be (mm/execmem.c)
    "kcore_modules": 64,  # the same for /proc/kcore (arch/*/mm/init.c)
    "cur_orc_table": 8,
    "cur_orc_ip_table": 8,
    "init_stack": 32 << 10,
    "init_thread_union": 32 << 10,
    "stacks": 4096,  # the exception modes' of ARM (arch/arm/kernel/setup.c)
}
_MAJORS = 255  # struct kobj_map.probes
_LANE = 3  # bits 24 to 31 of an address
_FEW = 2000  # words that are looked at one by one


@dataclass(frozen=True, slots=True)
class StillLeads:
    """A pointer into the memory of a module that is gone: `holder` says where it stands, `at` is its address, `target`
    what it points to."""

    holder: str
    at: int
    target: int
    module: ModuleMemory

    @property
    def what(self) -> str:
        """What is pointed to, by the name of the module's variable or function."""
        symbol = self.module.symbol(self.target)
        return f"{symbol} of {self.module.name}" if symbol else f"the memory of {self.module.name}"


def data_of_modules(objects: Objects) -> dict[int, bytes]:
    """The memory of every module that is loaded, by address. Raises as `what_still_leads_to` does."""
    found = {}
    for module in objects.list(objects.address("modules"), "module.list"):
        for start, end in parts_of(objects, module):
            if end - start <= _MOST_BYTES:
                with suppress(ValueError):
                    found[start] = objects.read(start, end - start)
    return found


def what_still_leads_to(
    objects: Objects, symbols: Symbols, gone: Sequence[ModuleMemory], before: Mapping[int, bytes]
) -> Iterator[StillLeads]:
    """Every pointer into these modules' memory. `before` is what `data_of_modules` gave before they were loaded: what
    other modules have in their variables since then, such as the place of their own init function, which is freed, was
    not left there by these. Raises `KoboxError` for a kernel without type information, `ValueError` for damaged
    memory."""
    found = set[tuple[str, int]]()
    nothing = [(objects.find(name), size) for name, size in _SAYS_NOTHING.items()]
    for start, data in _regions(objects, before):
        for at, target, module in _pointers(start, data, gone, objects.word):
            if any(place is not None and place <= at < place + size for place, size in nothing):
                continue
            if start in before and before[start][at - start : at - start + 8] == data[at - start : at - start + 8]:
                continue
            if module.within_function(target) or _is_taken_again(objects, target):
                continue
            symbol = symbols.lookup(at)
            holder = str(symbol) if symbol is not None else f"{at:#x}"
            if (holder, target) in found:
                continue
            found.add((holder, target))  # both ends of a list with one element
            yield StillLeads(holder, at, target, module)
    with suppress(KoboxError, ValueError):
        yield from _character_devices(objects, gone)


def _is_taken_again(objects: Objects, target: int) -> bool:
    """Whether a module that is loaded now lies there: the same one, requested anew by another, or the next."""
    loaded = objects.list(objects.address("modules"), "module.list")
    return any(start <= target < end for module in loaded for start, end in parts_of(objects, module))


def _regions(objects: Objects, before: Mapping[int, bytes]) -> Iterator[tuple[int, bytes]]:
    """The kernel's variables, and those of the modules that are loaded: address and content of each piece."""
    regions = _REGIONS if all(objects.find(last) for _, last in _REGIONS) else _REGION
    for first, last in regions:
        start, end = objects.address(first), objects.address(last)
        if 0 < end - start <= _MOST_BYTES:
            yield start, objects.read(start, end - start)
    # What was loaded since then, on request, came with pointers of its own.
    yield from ((start, data) for start, data in data_of_modules(objects).items() if start in before)


def _pointers(
    start: int, data: bytes, gone: Sequence[ModuleMemory], word: int
) -> Iterator[tuple[int, int, ModuleMemory]]:
    """(place, target, module) of each aligned pointer to a module that is gone. The addresses of a part have their
    upper bytes in common, or one of two: no part is longer than 16 MiB."""
    lane = data[_LANE::word]
    uppers = {address.to_bytes(word, "little")[_LANE:] for module in gone for part in module.parts for address in part}
    for upper in sorted(uppers):
        for at in _places(data, lane, upper, word):
            target = int.from_bytes(data[at : at + word], "little")
            module = next((module for module in gone if target in module), None)
            if module is not None:
                yield start + at, target, module


def _places(data: bytes, lane: bytes, upper: bytes, word: int) -> Iterator[int]:
    """Where the words of `word` bytes stand that end with `upper`. Searching one byte of each word, the `lane`, is ten
    times faster than searching all of it, unless it is a byte that many words have."""
    if len(upper) == 1 or lane.count(upper[:1]) <= _FEW:
        at = lane.find(upper[:1])
        while at >= 0:
            if data[at * word + _LANE : (at + 1) * word] == upper:
                yield at * word
            at = lane.find(upper[:1], at + 1)
        return
    at = data.find(upper)
    while at >= 0:
        if at % word == _LANE:
            yield at - _LANE
        at = data.find(upper, at + 1)


def device_numbers(objects: Objects) -> Iterator[tuple[int, str]]:
    """What cdev_add() has made: the address of each struct probe, and its first number."""
    table = objects.member(objects.pointer(objects.address("cdev_map")), "kobj_map.probes")
    link = objects.offset("probe.next")
    for first in objects.pointers(table, _MAJORS):
        for probe in objects.chain(first, link=link) if first else ():
            number = objects.number(probe, "probe.dev")
            yield probe, f"character device {number >> 20}:{number & 0xFFFFF}"


def _character_devices(objects: Objects, gone: Sequence[ModuleMemory]) -> Iterator[StillLeads]:
    """Device numbers of a struct cdev, or of its operations, that lay in such memory."""
    for probe, name in device_numbers(objects):
        device, function = objects.number(probe, "probe.data"), objects.number(probe, "probe.get")
        targets = [device, function]
        with suppress(ValueError):
            targets.append(objects.number(device, "cdev.ops"))
        for target in targets:
            module = next((module for module in gone if target in module), None)
            if module is not None:
                yield StillLeads(f"{name} (cdev_add())", probe, target, module)
                break
