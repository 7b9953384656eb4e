"""Memory that a module hands out: to user space (mmap), to devices (DMA), to files of /proc/sys and debugfs.

    remap_pfn_range(vma, start, pfn + vma->vm_pgoff, length, prot)     pages that are the module's?
    dma_map_single(device, buffer, length, direction)                  bytes that are the buffer's?
    dma_unmap_single(device, address, length, direction)               as it was mapped?
    register_sysctl("dev", table)                                      is .data as large as .maxlen says?
    debugfs_create_blob("dump", 0400, parent, blob)                    is .data as large as .size says?

Nobody looks at these addresses when they are used: the device and user space do not ask. So they are looked at when
they are handed out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from kobox.box.inspect.objects import Objects
from kobox.box.inspect.probes import FROM_MODULE, Callback, Hit
from kobox.checks.memory.module_heap import PAGE, Heap, Object
from kobox.checks.module.globals import Variables
from kobox.checks.report.quantities import beside, quantity
from kobox.checks.runner.session import Examination, Trace
from kobox.errors import KoboxError

Found = Callable[[str, str, Trace, Object | None, str], None]
"""Told of a mistake: kind, message, calls, object, advice."""

_MASK = (1 << 64) - 1
_FAILED = (0, _MASK)  # DMA_MAPPING_ERROR, and NULL of dma_alloc_attrs()
_DIRECTIONS = ("DMA_BIDIRECTIONAL", "DMA_TO_DEVICE", "DMA_FROM_DEVICE", "DMA_NONE")
_MANY = 4096  # mappings that are noted
_ENTRIES = 256  # of a sysctl table that are read


@dataclass(frozen=True, slots=True)
class DmaMapping:
    """What a device was given: how many bytes (of a scatter list: entries), in which direction."""

    size: int
    direction: int
    trace: Trace


class HandedOut:
    """The probes of one examination."""

    def __init__(self, examination: Examination, heap: Heap, variables: Variables, found: Found) -> None:
        self._examination = examination
        self._heap = heap
        self._variables = variables
        self._found = found
        self._objects: Objects = examination.box.inspect.objects
        self._symbols = examination.box.inspect.symbols
        self._mapped: dict[tuple[str, int], DmaMapping] = {}
        self._direct, self._vmemmap, _ = self._symbols.areas()
        self._page_size = self._objects.size("page")
        imports = {wanted.name for wanted in examination.file.imports}
        for name, (enter, leave) in self._functions().items():
            if name in imports and name in self._symbols:
                examination.probe(name, enter, leave, when=FROM_MODULE)

    def _functions(self) -> dict[str, tuple[Callback | None, Callback | None]]:
        return {
            "remap_pfn_range": (partial(self._maps_pages, 3), None),
            "io_remap_pfn_range": (partial(self._maps_pages, 3), None),
            "vm_insert_pfn": (partial(self._maps_pages, 0), None),
            "vmf_insert_pfn": (partial(self._maps_pages, 0), None),
            "vmf_insert_pfn_prot": (partial(self._maps_pages, 0), None),
            "dma_map_page_attrs": (self._maps, partial(self._has_mapped, "mapping")),
            "dma_unmap_page_attrs": (partial(self._unmaps, "mapping", 1, 2, 3), None),
            "dma_map_sg_attrs": (self._asks, partial(self._has_mapped_list, 1, 2, 3)),
            "dma_unmap_sg_attrs": (partial(self._unmaps, "scatter list", 1, 2, 3), None),
            "dma_alloc_attrs": (self._asks, self._has_allocated),
            "dma_free_attrs": (partial(self._unmaps, "memory", 2, 1, -1), None),
            "register_sysctl": (partial(self._registers, 1, -1), None),
            "register_sysctl_sz": (partial(self._registers, 1, 2), None),
            "register_net_sysctl": (partial(self._registers, 2, -1), None),
            "register_net_sysctl_sz": (partial(self._registers, 2, 3), None),
            "register_sysctl_table": (partial(self._registers, 0, -1), None),
            "debugfs_create_blob": (partial(self._shows, 3, "debugfs_blob_wrapper", "data", "size", 1), None),
            "debugfs_create_u32_array": (partial(self._shows, 3, "debugfs_u32_array", "array", "n_elements", 4), None),
        }

    # -- pages for user space ----------------------------------------------------------------------------------

    def _maps_pages(self, size_at: int, hit: Hit) -> None:
        area, size = hit.args[0], hit.args[size_at] if size_at else PAGE
        start = self._direct + hit.args[2] * PAGE
        trace, by = self._examination.trace(hit), f"{hit.probe.where}()"
        advice = "Compare vma->vm_pgoff and the length of the area with the size of the memory first."
        thing = self._heap.holding(start)
        if thing is not None and not thing.freed:
            end = thing.address + thing.size + PAGE - 1 & -PAGE
            if start + size > end:
                beyond = quantity(start + size - end, "byte")
                self._found("out-of-bounds", f"{by} maps {beyond} past the end of {thing.what}", trace, thing, advice)
            return
        with suppress(KoboxError, ValueError):
            offset = self._objects.number(area, "vm_area_struct.vm_pgoff") * PAGE
            base = self._heap.holding(start - offset) if 0 < offset < 1 << 47 else None
            if base is not None and not base.freed:
                where = beside(start, base.address, base.address + base.size, base.what)
                message = f"{by} maps {quantity(size, 'byte')} for user space, {where}"
                self._found("out-of-bounds", message, trace, base, advice)

    # -- DMA ---------------------------------------------------------------------------------------------------

    def _asks(self, hit: Hit) -> None:
        hit.data = self._examination.trace(hit)

    def _maps(self, hit: Hit) -> None:
        self._asks(hit)
        _, page, offset, size, *_ = hit.args
        start = self._direct + (page - self._vmemmap) // self._page_size * PAGE + offset
        thing = self._heap.holding(start)
        if thing is None or not 0 < size < 1 << 31:
            return
        if thing.freed:
            message = f"{thing.what} that is freed is mapped for a device"
            self._found("use-after-free", message, hit.data, thing, "Map it before it is freed, and unmap it.")
        elif start + size > thing.address + thing.size:
            beyond = quantity(start + size - thing.address - thing.size, "byte")
            self._found(
                "out-of-bounds",
                f"a device is given {beyond} past the end of {thing.what}",
                hit.data,
                thing,
                "Map no more bytes than were allocated.",
            )

    def _has_mapped(self, what: str, hit: Hit) -> None:
        address = (hit.result or 0) & _MASK
        if hit.data is not None and address not in _FAILED:
            self._note(what, address, DmaMapping(hit.args[3], hit.args[4] & 3, hit.data))

    def _has_mapped_list(self, list_at: int, count_at: int, direction_at: int, hit: Hit) -> None:
        if hit.data is not None and 0 < (hit.result or 0) < 1 << 31:
            mapping = DmaMapping(hit.args[count_at] & 0xFFFFFFFF, hit.args[direction_at] & 3, hit.data)
            self._note("scatter list", hit.args[list_at], mapping)

    def _has_allocated(self, hit: Hit) -> None:
        address = (hit.result or 0) & _MASK
        if hit.data is not None and address not in _FAILED:
            self._note("memory", address, DmaMapping(hit.args[1], 0, hit.data))

    def _note(self, what: str, address: int, mapping: DmaMapping) -> None:
        if len(self._mapped) < _MANY:
            self._mapped[what, address] = mapping

    def _unmaps(self, what: str, address_at: int, size_at: int, direction_at: int, hit: Hit) -> None:
        made = self._mapped.pop((what, hit.args[address_at]), None)
        if made is None:
            return
        size = hit.args[size_at] & (0xFFFFFFFF if what == "scatter list" else _MASK)
        unit = "entry" if what == "scatter list" else "byte"
        if size != made.size:
            sizes = f"{_counted(size, unit)}, and has {_counted(made.size, unit)}"
            self._mismatch(hit, made, f"DMA {what} is given back with {sizes}", "the size that it was made with")
        elif direction_at > 0 and hit.args[direction_at] & 3 != made.direction:
            old, new = _DIRECTIONS[made.direction], _DIRECTIONS[hit.args[direction_at] & 3]
            message = f"DMA {what} is unmapped as {new}, and was mapped as {old}"
            self._mismatch(hit, made, message, "the direction that it was mapped with")

    def _mismatch(self, hit: Hit, made: DmaMapping, message: str, wanted: str) -> None:
        self._found("dma-mismatch", message, self._examination.trace(hit), None, f"Give {wanted}.")

    # -- /proc/sys ---------------------------------------------------------------------------------------------

    def _registers(self, table_at: int, count_at: int, hit: Hit) -> None:
        count = hit.args[count_at] if count_at >= 0 else _ENTRIES
        with suppress(KoboxError, ValueError):
            for entry in self._entries(hit.args[table_at], min(count, _ENTRIES)):
                self._look_at_entry(entry, hit)

    def _entries(self, table: int, count: int) -> Iterator[int]:
        size = self._objects.size("ctl_table")
        for n in range(count):
            entry = table + n * size
            if not self._objects.number(entry, "ctl_table.procname"):
                return
            yield entry

    def _look_at_entry(self, entry: int, hit: Hit) -> None:
        """What the kernel's own handlers may read and write: `maxlen` bytes from `data` on."""
        objects = self._objects
        data, length = objects.number(entry, "ctl_table.data"), objects.number(entry, "ctl_table.maxlen")
        handler = self._symbols.lookup(objects.number(entry, "ctl_table.proc_handler"))
        if not data or not length or handler is None or handler.module or not handler.name.startswith("proc_do"):
            return
        thing, end, what = self._memory_at(data)
        if end and data + length > end:
            name = objects.string(objects.number(entry, "ctl_table.procname"))
            self._found(
                "out-of-bounds",
                f"sysctl {name}: {handler.name}() may use {quantity(length, 'byte')} of {what}, "
                f"{quantity(data + length - end, 'byte')} past its end",
                self._examination.trace(hit),
                thing,
                "Set .maxlen to sizeof() of the variable, and use the handler of its type.",
            )

    # -- debugfs -----------------------------------------------------------------------------------------------

    def _shows(self, at: int, structure: str, start: str, count: str, unit: int, hit: Hit) -> None:
        """A file that shows memory, as a structure describes it: where it begins, and how many units it has."""
        with suppress(KoboxError, ValueError):
            described = hit.args[at]
            data = self._objects.number(described, f"{structure}.{start}")
            size = unit * self._objects.number(described, f"{structure}.{count}")
            thing, end, what = self._memory_at(data)
            if data and size and end and data + size > end:
                self._found(
                    "out-of-bounds",
                    f"{hit.probe.where}(): the file {self._objects.string(hit.args[0])} shows {quantity(size, 'byte')} "
                    f"of {what}, {quantity(data + size - end, 'byte')} past its end",
                    self._examination.trace(hit),
                    thing,
                    f"Set .{count} to what was allocated.",
                )

    def _memory_at(self, address: int) -> tuple[Object | None, int, str]:
        """The object or variable of the module at an address: the object, where it ends, what it is."""
        thing = self._heap.holding(address)
        if thing is not None and not thing.freed:
            return thing, thing.address + thing.size, thing.what
        return thing, self._variables.end_of(address), self._variables.at(address)


def _counted(number: int, unit: str) -> str:
    return f"{number} {'entries' if unit == 'entry' and number != 1 else unit if number == 1 else unit + 's'}"
