"""The probe: "when the kernel reaches this function or address, call me, with its arguments; on return, with
its result".

    with box.probe("kmem_cache_alloc", lambda hit: print(hit.caller, hit["flags"])):
        …
    box.probe("hello:hello_open", on_return=lambda hit: hit.set_result(-errno.ENODEV))
    box.probe("kmalloc_trace", lambda hit: hit.skip(0) if hit.caller_in("hello") else None)

A probe costs nothing where nothing is watched: at a function's entry the hook that counts blocks finds it, elsewhere it
is a hook on one instruction. A symbol may name a function of a module that is not loaded yet ("module:symbol"): that
probe is set when the module comes, before its init runs, and goes with it.
Arguments are those that registers hold, the first six; their names and types come from BTF.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from kobox.arch.registers import Registers
from kobox.box.inspect.symbols import SymbolNotFoundError, Symbols
from kobox.errors import KoboxError
from kobox.ko.binary import c_string
from kobox.machine.native_core import (
    PROBE_DECLINED,
    PROBE_FROM_MODULE,
    PROBE_INSIDE,
    PROBE_TRACKED_0,
    PROBE_TRACKED_1,
    PROBE_UNFIT,
)
from kobox.machine.pc import Machine

FROM_MODULE, TRACKED_0, TRACKED_1, INSIDE = PROBE_FROM_MODULE, PROBE_TRACKED_0, PROBE_TRACKED_1, PROBE_INSIDE
UNFIT, DECLINED = PROBE_UNFIT, PROBE_DECLINED

Callback = Callable[["Hit"], Any]


class Hit:
    """One time that a probe was reached. Valid only inside the callback (kept values are plain numbers)."""

    def __init__(self, probe: Probe, machine: Machine, symbols: Symbols) -> None:
        self._machine = machine
        self._symbols = symbols
        self.probe = probe
        self.registers: Registers = machine.registers()
        # In on_return: what the function returns, as a signed number; of an int, 32 bits.
        self.result: int | None = None
        self.skipped = False
        self.awaited = True  # on_entry sets False when on_return need not be called for this call
        self.data: Any = None  # whatever on_entry wants to keep for on_return

    @property
    def args(self) -> tuple[int, ...]:
        """The six register arguments at entry, unsigned 64-bit; how many are meant is the function's affair."""
        return self.registers.arguments

    def argument(self, number: int) -> int:
        """An argument at entry, counted from 0: the first six (ARMv7: 4) are in registers, others on the stack. Raises
        `ValueError` where there is no stack."""
        if number < len(self.args):
            return self.args[number]
        return self._machine.arch.calls.stack_argument(self.registers, self._machine.read, number)

    def __getitem__(self, name: str) -> int:
        """An argument by its name in the source (from BTF). Raises `KeyError`."""
        names = self.probe.parameter_names
        if name not in names[: len(self.args)]:
            raise KeyError(
                f"{self.probe.where} has no register argument {name!r} (it has: {', '.join(names) or 'none known'})"
            )
        return self.args[names.index(name)]

    @property
    def caller(self) -> int:
        """The return address: who called the function. Only at a function's entry."""
        return self._machine.arch.calls.return_address(self.registers, self._machine.read)

    @property
    def caller_name(self) -> str:
        """The caller as "function+0x12/0x40 [module]"."""
        return self._symbols.describe(self.caller)

    def caller_in(self, module: str) -> bool:
        """Whether the caller is code of a module."""
        return any(part.name == module.replace("-", "_") and self.caller in part for part in self._symbols.modules())

    def read(self, address: int, size: int) -> bytes:
        """Memory as the kernel sees it at this moment. Raises `ValueError` where none is mapped."""
        return self._machine.read(address, size)

    def string(self, address: int, limit: int = 4096) -> str:
        """A C string, `limit` bytes of it at most. Raises `ValueError` where no memory is."""
        return self.text(address, limit).decode(errors="backslashreplace")

    def text(self, address: int, limit: int = 4096) -> bytes:
        """The bytes of a C string without its NUL. Raises as `string` does."""
        out = b""
        while 0 not in out and len(out) < limit:
            at = address + len(out)
            out += self._machine.read(at, min(64 - (at & 63), limit - len(out)))  # in no page that it does not reach
        return c_string(out)

    def write(self, address: int, data: bytes) -> None:
        """Change memory."""
        self._machine.write(address, data)

    def set_argument(self, number: int, value: int) -> None:
        """Change a register argument (0 to 5) before the function sees it."""
        self._machine.set_argument(number, value)

    def skip(self, result: int = 0) -> None:
        """At entry: do not run the function at all; its caller gets `result`."""
        self._machine.return_from_function(result)
        self.skipped = True

    def set_result(self, result: int) -> None:
        """In on_return: change what the function returns."""
        self._machine.result = result
        self.result = result


class Probe:
    """A probe that is set (or waits for its module). `remove()`, or leaving its `with` block, takes it away."""

    def __init__(
        self,
        probes: Probes,
        where: str | int,
        on_entry: Callback | None,
        on_return: Callback | None,
        when: int = 0,
    ) -> None:
        self._probes = probes
        self.where = where
        self.when = when
        self.on_entry = on_entry
        self.on_return = on_return
        self.address: int | None = None
        self.hits = 0
        self._names: tuple[str, ...] | None = None
        self._bits: int | None = None

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """The function's parameter names, () when they are not known."""
        if self._names is None:
            self._names = self._probes.parameter_names(self.where)
        return self._names

    @property
    def result_bits(self) -> int:
        """How many bits of its register the function's result has: the rest of an int's is left as it was."""
        if self._bits is None:
            self._bits = 32 if self._probes.return_type(self.where) in ("int", "s32") else 64
        return self._bits

    @property
    def is_set(self) -> bool:
        """Whether it watches an address now."""
        return self.address is not None

    def remove(self) -> None:
        """Take the probe away."""
        self._probes.remove(self)

    def __enter__(self) -> Probe:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


class Probes:
    """All probes of one box."""

    def __init__(self, machine: Machine, symbols: Symbols) -> None:
        self._machine = machine
        self._symbols = symbols
        self._set: dict[Probe, Callable[[], None]] = {}
        self._waiting: list[Probe] = []  # for modules that are not loaded
        self._returning: dict[int, list[tuple[int, Hit]]] = {}  # return address -> (stack pointer then, hit)
        self._return_sites: dict[int, Callable[[], None]] = {}
        self._watching_modules: list[Callable[[], None]] = []

    def add(
        self,
        where: str | int,
        on_entry: Callback | None = None,
        on_return: Callback | None = None,
        *,
        when: int = 0,
    ) -> Probe:
        """Set a probe at a symbol ("name", "name+0x10", "module:name") or address.

        `when` is 0, or which calls count: `FROM_MODULE` those by code that the box watches, `TRACKED_0` and
        `TRACKED_1` those whose first or second argument points to memory that it tracks, `INSIDE` all in a function
        that allocates for watched code, `UNFIT` those by watched code of a function that prints, when there is
        something to look at (`kobox.machine.watch`), `DECLINED` those that the record of allocations leaves to others
        (`kobox.machine.watch_heap`).

        Raises `SymbolNotFoundError`; a symbol of a module that is not loaded is waited for instead.
        """
        probe = Probe(self, where, on_entry, on_return, when)
        module = _module_of(where)
        if module and module not in {part.name for part in self._symbols.modules()}:
            self._waiting.append(probe)
            self._watch_modules()
        else:
            self._place(probe)
            if module:
                self._watch_modules()
        return probe

    def remove(self, probe: Probe) -> None:
        """Take a probe away; nothing happens when it is gone already."""
        callback = self._set.pop(probe, None)
        if callback is not None and probe.address is not None:
            self._machine.remove_probe(probe.address, callback)
        probe.address = None
        if probe in self._waiting:
            self._waiting.remove(probe)
        if not self._set and not self._waiting:
            self._drop_sites()

    def clear(self) -> None:
        """Take all probes away."""
        for probe in [*self._set, *self._waiting]:
            self.remove(probe)

    def follow(self) -> None:
        """The box has gone back in time: no function that was entered will return, and other modules may be there, or
        the same ones elsewhere."""
        self._returning.clear()
        for probe in [probe for probe in self._set if _module_of(probe.where)]:
            self._unplace(probe)
        loaded = {part.name for part in self._symbols.modules()} if self._waiting else set()
        for probe in [probe for probe in self._waiting if _module_of(probe.where) in loaded]:
            with suppress(SymbolNotFoundError):  # init code is gone once it has run
                self._place(probe)
                self._waiting.remove(probe)

    def parameter_names(self, where: str | int) -> tuple[str, ...]:
        """Parameter names of the function at a probe, from BTF."""
        try:
            known = self._symbols.btf.parameters(self._function(where))
        except KoboxError:
            return ()
        return tuple(parameter.name for parameter in known or ())

    def return_type(self, where: str | int) -> str | None:
        """What the function at a probe returns, as C writes it; None when BTF does not know it."""
        try:
            return str(self._symbols.btf.return_type(self._function(where)))
        except KoboxError:
            return None

    def _function(self, where: str | int) -> str:
        if isinstance(where, int):
            symbol = self._symbols.lookup(where)
            where = symbol.name if symbol else ""
        return where.rpartition(":")[2].partition("+")[0]

    # -- placing -----------------------------------------------------------------------------------------------

    def _address(self, where: str | int) -> int:
        if isinstance(where, int):
            return where
        name, _, offset = where.partition("+")
        return self._symbols.address(name) + (int(offset, 0) if offset else 0)

    def _place(self, probe: Probe) -> None:
        probe.address = self._address(probe.where)

        def reached() -> None:
            self._reached(probe)

        # Compilers align functions; what is not aligned may be a label that code also runs into, or a function that is
        # seldom called (_printk): what a module calls is a function. Of a hook on one instruction each one that is
        # watched would pay.
        named = isinstance(probe.where, str) and "+" not in probe.where
        entry = named and (not probe.address & 15 or bool(probe.when & (FROM_MODULE | UNFIT | DECLINED)))
        self._machine.add_probe(probe.address, reached, entry=entry, when=probe.when)
        self._set[probe] = reached

    def _reached(self, probe: Probe) -> None:
        hit = Hit(probe, self._machine, self._symbols)
        probe.hits += 1
        if probe.on_entry:
            probe.on_entry(hit)
        if probe.on_return and hit.awaited and not hit.skipped:
            site = hit.caller
            self._returning.setdefault(site, []).append((self._machine.arch.calls.sp_after_return(hit.registers), hit))
            if site not in self._return_sites:
                self._return_sites[site] = lambda: self._returned(site)
                self._machine.add_probe(site, self._return_sites[site], entry=True)

    def _returned(self, site: int) -> None:
        waiting = self._returning.get(site)
        if not waiting:
            return
        sp = self._machine.sp
        # Several have returned at once when the one left by jumping to the next.
        returned = [hit for at, hit in reversed(waiting) if at == sp]
        self._returning[site] = [row for row in waiting if row[0] != sp]
        for hit in returned:
            value = self._machine.result & (1 << hit.probe.result_bits) - 1
            hit.result = value - (1 << hit.probe.result_bits) if value >> hit.probe.result_bits - 1 else value
            if hit.probe.on_return and hit.probe.is_set:
                hit.probe.on_return(hit)

    def _drop_sites(self) -> None:
        for site, callback in self._return_sites.items():
            self._machine.remove_probe(site, callback)
        self._return_sites.clear()
        self._returning.clear()
        while self._watching_modules:
            self._watching_modules.pop()()

    # -- modules -----------------------------------------------------------------------------------------------

    def _watch_modules(self) -> None:
        """Learn of modules as they come (do_init_module: linked, not yet run) and go (free_module)."""
        if self._watching_modules:
            return
        for function, callback in (("do_init_module", self._module_came), ("free_module", self._module_goes)):
            address = self._symbols.address(function)
            self._machine.add_probe(address, callback)
            self._watching_modules.append(lambda a=address, c=callback: self._machine.remove_probe(a, c))  # type: ignore[misc]

    def _module_name(self) -> str:
        at = self._machine.argument(0) + self._symbols.btf.offset("module", "name")
        return c_string(self._machine.read(at, 56)).decode(errors="replace")

    def _module_came(self) -> None:
        name = self._module_name()
        self._leave_init_code()
        for probe in [probe for probe in self._waiting if _module_of(probe.where) == name]:
            self._waiting.remove(probe)
            self._place(probe)

    def _module_goes(self) -> None:
        name = self._module_name()
        for probe in [probe for probe in self._set if _module_of(probe.where) == name]:
            self._unplace(probe)

    def _leave_init_code(self) -> None:
        """Probes on init code that was freed must not watch the module that comes to lie there."""
        watched = [probe for probe in self._set if _module_of(probe.where)]
        loaded = {part.name: part for part in self._symbols.modules()} if watched else {}
        for probe in watched:
            if probe.address not in loaded.get(_module_of(probe.where), ()):
                self._unplace(probe)

    def _unplace(self, probe: Probe) -> None:
        """A probe's module is gone: wait for it to come again."""
        assert probe.address is not None
        self._machine.remove_probe(probe.address, self._set.pop(probe))
        probe.address = None
        self._waiting.append(probe)


def _module_of(where: str | int) -> str:
    """The module that a probe's place names, as the kernel writes it; "" for none."""
    return where.partition(":")[0].replace("-", "_") if isinstance(where, str) and ":" in where else ""
