"""What a module's init did: whether the kernel reached it, what it returned, and which of its calls returned that.

    with InitTrace(box.inspect) as trace:
        box.init_module(image, parameters)          # raises OSError, as ever
    trace.outcome.reached, trace.outcome.returned   # True, -2
    trace.outcome.call                              # InitCall("register_kprobe", -2, "i+0x1a/0x30")

    do_init_module()  the module is linked: every loader's check has passed       kernel/module/main.c
      -> mod->init    each call in the module's code is watched until this returns

An errno of init_module(2) has two sources: the loader, before it has called init, and init itself. Only the first is a
refusal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from kobox.arch.code import Flow
from kobox.box.inspect.inspector import Inspector
from kobox.box.inspect.probes import Hit, Probe
from kobox.errors import KoboxError

_MOST_SITES = 4000  # calls that are watched: a module with more of them is not asked which call it was
_LARGEST = 1 << 20  # bytes of a function that are read
_INT = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class InitCall:
    """A call that init, or a function of the module that init called, has made. `function` is what was called ("" for a
    call through a pointer that leads nowhere known), `result` its value as an int, `place` where the call returns to:
    "function+0x12/0x40" of the module. `tail`: the caller's code has ended with a jump there."""

    function: str
    result: int
    place: str
    tail: bool = False


@dataclass(frozen=True, slots=True)
class InitOutcome:
    """What came of a module's init. `reached`: the loader has called it. `returned`: its value, None when it did not
    return, or there is none. `call`: the call that returned that same value last, if one did."""

    reached: bool
    returned: int | None = None
    call: InitCall | None = None


class Loader(Protocol):
    """What loads a module: a box."""

    @property
    def inspect(self) -> Inspector: ...

    def init_module(self, image: bytes, parameters: str = "") -> None: ...


def trace_init(box: Loader, image: bytes, parameters: str = "") -> InitOutcome:
    """Load a module, and tell what its init did; what the load raises is left to whoever loads it for good.

    The state of the box is afterwards what the load has made of it: take a checkpoint before, and restore it.
    """
    with InitTrace(box.inspect) as trace, suppress(OSError, KoboxError):
        box.init_module(image, parameters)
    return trace.outcome


class _Site:
    """The place behind one call of the module's code, or the jump that ends a function.

    `begins` is the address of the call itself where something else leads to the place behind it: a branch, as it does
    where the function that is called never returns. Then only as many returns count as calls were `under_way`.
    """

    __slots__ = ("address", "begins", "function", "place", "tail", "under_way")

    def __init__(self, address: int, place: str, function: str, *, tail: bool, begins: int | None = None) -> None:
        self.address = address
        self.place = place
        self.function = function
        self.tail = tail
        self.begins = begins
        self.under_way = 0


class InitTrace:
    """Watches the init of the next module that is loaded in one box, from `__enter__` to `__exit__`."""

    def __init__(self, inspect: Inspector) -> None:
        self._inspect = inspect
        self._probes: list[Probe] = []
        self._reached = False
        self._returned: int | None = None
        self._calls: list[InitCall] = []
        self._tail: _Site | None = None
        self._own: set[str] = set()  # the functions of the module

    @property
    def outcome(self) -> InitOutcome:
        """What is known now."""
        return InitOutcome(self._reached, self._returned, self._cause())

    def __enter__(self) -> InitTrace:
        with suppress(KoboxError):  # a kernel without type information: nothing is known then
            self._probes.append(self._inspect.probes.add("do_init_module", self._linked))
        return self

    def __exit__(self, *_: object) -> None:
        while self._probes:
            self._probes.pop().remove()

    # -- while it runs -----------------------------------------------------------------------------------------------

    def _linked(self, hit: Hit) -> None:
        """The module is linked, and its init is called next."""
        if self._reached:
            return
        self._reached = True
        symbols = self._inspect.symbols
        with suppress(KoboxError, ValueError):
            module = hit.argument(0)
            init = int.from_bytes(hit.read(module + symbols.btf.offset("module", "init"), 8), "little")
            if not init:
                return
            self._probes.append(self._inspect.probes.add(init, on_return=self._init_returned))
            name = hit.string(module + symbols.btf.offset("module", "name"), 56)
            self._watch_calls(name)

    def _watch_calls(self, module: str) -> None:
        found: list[_Site] = []
        functions = self._functions(module)
        self._own = {name for name, _, _ in functions}
        for name, start, code in functions:
            found += self._sites(name, start, code)
            if len(found) > _MOST_SITES:
                return
        for site in found:
            if site.begins is not None:
                self._probes.append(self._inspect.probes.add(site.begins, self._begun(site)))
            self._probes.append(self._inspect.probes.add(site.address, self._passed(site)))

    def _sites(self, name: str, start: int, code: bytes) -> Iterator[_Site]:
        """The calls of one function, and the jumps that leave it."""
        instructions = list(self._inspect.arch.code.instructions(code, 0, len(code)))
        targets = {one.target for one in instructions if one.flow in (Flow.BRANCH, Flow.JUMP)}
        for one in instructions:
            leaves = one.target is None or not 0 <= one.target < len(code)
            if one.flow is not Flow.CALL and not (one.flow is Flow.JUMP and leaves):
                continue
            tail = one.flow is Flow.JUMP
            at = one.offset if tail else one.end
            function = "" if one.target is None else self._name(start + one.target)
            begins = start + one.offset if not tail and one.end in targets else None
            yield _Site(start + at, f"{name}+{at:#x}/{len(code):#x}", function, tail=tail, begins=begins)

    def _functions(self, module: str) -> list[tuple[str, int, bytes]]:
        """(name, address, code) of the functions of a module that is just linked. Each stands once, under its first
        name: `init_module` is another one."""
        memory = self._inspect.memory
        rows: dict[int, tuple[str, int, bytes]] = {}
        for symbol in self._inspect.symbols.symbols_of(module):
            if symbol.kind == "T" and symbol.size and not symbol.name.startswith("__pfx_"):
                with suppress(ValueError):
                    code = memory.read(symbol.address, min(symbol.size, _LARGEST))
                    rows.setdefault(symbol.address, (symbol.name, symbol.address, code))
        return list(rows.values())

    def _name(self, address: int) -> str:
        symbol = self._inspect.symbols.lookup(address)
        return symbol.name if symbol is not None and symbol.address == address else ""

    def _begun(self, site: _Site) -> Callable[[Hit], None]:
        def begun(_hit: Hit) -> None:
            site.under_way += 1

        return begun

    def _passed(self, site: _Site) -> Callable[[Hit], None]:
        def passed(hit: Hit) -> None:
            if site.begins is not None:
                if not site.under_way:
                    return
                site.under_way -= 1
            if site.tail:
                self._tail = site
            else:
                self._calls.append(InitCall(site.function, _signed(hit.registers.result), site.place))
                self._tail = None

        return passed

    def _init_returned(self, hit: Hit) -> None:
        self._returned = _signed(hit.result or 0)
        if self._tail is not None and self._tail.function:
            self._calls.append(InitCall(self._tail.function, self._returned, self._tail.place, tail=True))

    def _cause(self) -> InitCall | None:
        """The last call of the kernel's that returned what init did; without one, the first of the module's own:
        those that clean up behind it may return nothing, and leave the register as it was."""
        if not self._returned:
            return None
        same = [call for call in self._calls if call.result == self._returned]
        kernel = [call for call in same if call.function not in self._own]
        return kernel[-1] if kernel else same[0] if same else None


def _signed(value: int) -> int:
    """The int in a register."""
    value &= _INT
    return value - (1 << 32) if value >> 31 else value
