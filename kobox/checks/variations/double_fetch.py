"""Lives in which another thread of user space changes what the module has read, before it reads it again.

    get_user(len, &arg->len)            len = 4; checked
                                        <- here user space writes 0xffffffff
    copy_from_user(m, arg, 4 + len)     m->len = 0xffffffff: not what was checked

That a module reads twice is no mistake by itself; that it trusts the second reading is, and then the other checks see
what comes of it.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from kobox.box.inspect.probes import FROM_MODULE, Hit
from kobox.checks.context.own_places import user_places
from kobox.checks.module.callsites import CodeMap
from kobox.checks.runner.session import Check, Examination

_COPIES = {  # the arguments that are the source and the size
    "_copy_from_user": (1, 2),
    "__copy_from_user": (1, 2),
    "__arch_copy_from_user": (1, 2),
    "strncpy_from_user": (1, 2),
    "memdup_user": (0, 1),
    "rep_movs_alternative": (1, 3),
}
_LARGEST = 1 << 20
_CHANGED = 8  # bytes at most


class ChangingUser(Check):
    """Overwrites, between two reads by one system call, the bytes of user space that both read."""

    name = "double-fetch"

    def attach(self, examination: Examination) -> None:
        self._examination = examination
        self._read: dict[int, list[tuple[int, int]]] = {}  # by stack: (start, end) that this system call has read
        self.changed = 0
        imports = {wanted.name for wanted in examination.file.imports}
        symbols = examination.box.inspect.symbols
        for name in _COPIES:
            if name in imports and name in symbols:
                examination.probe(name, partial(self._copies, name), when=FROM_MODULE)
        for size in (1, 2, 4, 8):
            for name in (f"__get_user_{size}", f"__get_user_nocheck_{size}"):
                if name in imports and name in symbols:
                    examination.probe(name, partial(self._gets, size), when=FROM_MODULE)
        examination.probe(examination.box.arch.syscalls.entry, self._entered)

    def linked(self, examination: Examination) -> None:
        for place, size in user_places(examination, CodeMap(examination.file.elf)):
            if place.function == "get_user":
                examination.probe_code(place.address, partial(self._loads, place.address, size))

    def _entered(self, hit: Hit) -> None:
        self._read.pop(self._stack(hit), None)

    def _copies(self, name: str, hit: Hit) -> None:
        start, size = (hit.args[number] for number in _COPIES[name])
        if size < _LARGEST:
            self._reads(hit, start, start + size)

    def _gets(self, size: int, hit: Hit) -> None:
        self._reads(hit, hit.registers.result, hit.registers.result + size)  # the pointer is in that register

    def _loads(self, address: int, size: int, hit: Hit) -> None:
        """get_user(), where it is an instruction of the module's."""
        machine = self._examination.box.machine
        found = machine.arch.code.pointer_operand(machine.read(address, 4))
        if found is not None:
            start = machine.register(found[0]) + found[1]
            self._reads(hit, start, start + size)

    def _reads(self, hit: Hit, start: int, end: int) -> None:
        before = self._read.setdefault(self._stack(hit), [])
        for first, last in before:
            low, high = max(first, start), min(last, end, max(first, start) + _CHANGED)
            if low < high:
                with suppress(ValueError):
                    hit.write(low, b"\xff" * (high - low))
                    self.changed += 1
        before.append((start, end))

    def _stack(self, hit: Hit) -> int:
        return self._examination.box.arch.addresses.stack_of(hit.registers.sp)
