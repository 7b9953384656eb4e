"""Moments of a life by what happens: "1,000 instructions before the oops".

spec = MomentSpec.parse("oops-1000")
found = find_moment(replay, spec)            # its instruction's number, found by one life or two

oops      the instruction that makes the kernel oops            panic, warning   where the kernel begins to report it
end       the life's last instruction                           NAME             a function's first instruction
12345     the instruction with this number                      ...-N, ...+N     N instructions before or after
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from kobox.debug.replay import FindLast, Going, Moment, Replay
from kobox.errors import KoboxError
from kobox.machine.stepper import Stop

_SPEC = re.compile(r"(?P<what>\d+|(?:\w+:)?[A-Za-z_][\w.]*)(?P<more>[-+]\d+)?")
# Where the kernel begins to report (kernel/panic.c); the first that it has counts.
_EVENTS = {"oops": ("oops_enter",), "panic": ("panic",), "warning": ("__warn",)}
_LINKED = "do_init_module"


class MomentError(KoboxError):
    """A moment that cannot be named so, or that never comes."""


@dataclass(frozen=True, slots=True)
class MomentSpec:
    """An event, or a function's name, or an instruction's number, and how many instructions after it (negative:
    before)."""

    what: str
    more: int = 0

    @classmethod
    def parse(cls, text: str) -> MomentSpec:
        """Read "oops-1000". Raises `MomentError`."""
        match = _SPEC.fullmatch(text)
        if match is None:
            raise MomentError(
                f"{text!r}: no moment of a life",
                hint="A moment is oops, panic, warning, end, a function's name or an instruction's number, and may be "
                "followed by -N or +N: oops-1000.",
            )
        return cls(match["what"], int(match["more"] or 0))


class _Found(BaseException):
    """Leaves the life: nothing more is wanted of it."""


def find_moment(replay: Replay, spec: MomentSpec) -> int:
    """The number of the instruction that a spec names. Raises `MomentError` when it never comes."""
    if spec.what.isdigit():
        return max(1, int(spec.what) + spec.more)
    finder = _Finder(replay, spec.what)
    with suppress(_Found):
        replay.play(finder.meet)
    finder.clear()
    if not finder.count:
        raise MomentError(f"{spec.what}: this never happens in the life", hint="Its length is shown by `end`.")
    return max(1, finder.count + spec.more)


def visit(replay: Replay, count: int, look: Callable[[Moment], None]) -> None:
    """Go to the instruction with this number and call `look` there. The rest of the life is not lived: what Python does
    on leaving it (it closes files, ends programs) still runs the box."""

    met = False

    def meet(moment: Moment) -> Going:
        nonlocal met
        if not met:  # what Python does on leaving may stop at a breakpoint again
            met = True
            look(moment)
            raise _Found
        return None

    with suppress(_Found):
        replay.play(meet, count)


class _Finder:
    """Waits for an event. At an oops it goes back to the instruction that was interrupted."""

    def __init__(self, replay: Replay, what: str) -> None:
        self._replay = replay
        self._what = what
        self._symbols = replay.box.inspect.symbols
        self._set: set[int] = set()
        self.count = 0
        replay.stepper.run_free()
        if what == "end":
            return
        for name in _EVENTS.get(what, (what,)):
            if (address := self._symbols.find(name)) is not None:
                self._break(address)
        self._linked = self._symbols.address(_LINKED)
        if not self._set and what not in _EVENTS:
            self._break(self._linked)  # it may be a function of a module that comes

    def _break(self, address: int) -> None:
        self._set.add(address)
        self._replay.stepper.set_breakpoint(address)

    def clear(self) -> None:
        """Take all breakpoints away."""
        for address in self._set:
            self._replay.stepper.set_breakpoint(address, on=False)
        self._set.clear()

    def meet(self, moment: Moment) -> Going:
        """Called at each stop."""
        if self.count:
            return None  # Python is leaving the life, and runs the box once more
        if moment.ended:
            self.count = moment.count - 1 if self._what == "end" else 0
            raise _Found
        if moment.pc == self._linked and self._what != _LINKED:
            if (address := self._symbols.find(self._what)) is not None:
                self._break(address)
            return None
        if self._what == "oops" and (cause := self._interrupted()) is not None:
            self.clear()
            self._break(cause)
            return FindLast(moment.count, lambda stop: self._went_back(stop, moment.count))
        self.count = moment.count
        raise _Found

    def _went_back(self, stop: Stop | None, reported: int) -> Going:
        self.count = stop.count if stop is not None else reported
        raise _Found

    def _interrupted(self) -> int | None:
        frames = self._replay.box.inspect.unwinder.walk()
        return next((frame.address for frame in frames[1:] if frame.exact), None)
