"""One life of a module in a box, gone through forwards and backwards.

    replay = Replay(box, life)                 # life(): what Python does with the box: load, use, unload
    replay.play(meet)                            # meet(moment) is called at each stop, and says how to go on

A box is deterministic: the same life from the same state executes the same instructions. So a moment is the number of
its instruction. To go back is to restore an earlier state and to live on to that moment again. What the debugger had
written before that moment is written again on the way; what it wrote later is undone.

    meet() returns           play()
    None                     goes on, to whatever the stepper was told to stop for
    GoTo(count)              goes to the instruction with this number, before or after this one
    FindLast(before, then)   finds the stepper's last stop before that instruction, and does what then(stop) returns

The state that is restored is that of the last time when Python had the box, if it is early enough: most ways back are
inside one system call. Else it is that of the beginning, and the life begins anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

from kobox.box.box import Box
from kobox.box.events import MachineStep
from kobox.errors import BoxError, KernelError, KoboxError
from kobox.machine.native_core import Event
from kobox.machine.pc import Checkpoint
from kobox.machine.stepper import Stepper, Stop, StopReason


@dataclass(frozen=True, slots=True)
class Moment:
    """Where the life is stopped: before the instruction at `pc`, which has number `count`.

    `ended` says that the life is over; `error` is what ended it, if it was an error.
    """

    reason: StopReason
    pc: int
    count: int
    watched: int = 0
    ended: bool = False
    error: KoboxError | None = None


@dataclass(frozen=True, slots=True)
class GoTo:
    """Go to the instruction with this number, and meet whoever debugs there."""

    count: int


@dataclass(frozen=True, slots=True)
class FindLast:
    """Find the last breakpoint or watched byte that was met before an instruction. `then` gets it, or None."""

    before: int
    then: Callable[[Stop | None], Going]


# Between two looks at what the debugger wants: code that is looked at runs several times slower than other code.
_MOST_BLOCKS = 250_000

Going: TypeAlias = GoTo | FindLast | None
Meet: TypeAlias = Callable[[Moment], Going]


class ReplayError(KoboxError):
    """A life did not repeat itself."""


class _Back(BaseException):
    """Leaves the life that is under way. No Exception: nothing in between may catch it."""

    def __init__(self, going: GoTo | FindLast) -> None:
        self.going = going


@dataclass(frozen=True, slots=True)
class _Write:
    """What the debugger has written at a moment: memory, or a register if it has a name."""

    count: int
    address: int
    data: bytes
    register: str = ""


class Replay:
    """One life of a module in a box. The box is as it is when this is made whenever the life begins.

    `life` must do the same whenever it is called. Raises `MachineError` when the box is under a debugger already.
    """

    def __init__(self, box: Box, life: Callable[[], None]) -> None:
        self.box = box
        self._life = life
        self._beginning = box.checkpoint()
        self.stepper = Stepper(box.machine)
        self.stepper.listener = self._reached
        self._undo = box.events.step.subscribe(self._step)
        self._meet: Meet = lambda moment: None
        self._going: GoTo | FindLast | None = None  # what is on the way
        self._found: Stop | None = None
        self._searched_from = 0
        self._writes: list[_Write] = []
        self._to_write: list[_Write] = []
        self.now = 0
        """The number of the instruction that the CPU is before."""

    @property
    def on_the_way(self) -> bool:
        """Whether it is lived on to a moment that was gone to; nobody is met before that."""
        return self._going is not None

    def close(self) -> None:
        """Let the box run at full speed again, in the state in which it is."""
        self._undo()
        self.stepper.close()
        self._beginning.release()

    def __enter__(self) -> Replay:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def play(self, meet: Meet, start: int = 0) -> None:
        """Live the life from the instruction with number `start` on, and call `meet` there and at each stop, until it
        returns None when the life has ended. With 0 it begins at the beginning, and stops nowhere by itself.

        Raises what `meet` raises, and what the life raises that is no error of the box's or the kernel's.
        """
        self._meet = meet
        self._going = None
        self._beginning.restore()
        self.stepper.rewound(0)
        if start:
            self._begin(GoTo(start), 0)
        while True:
            try:
                going = self._ended(self._live())
            except _Back as back:
                going = back.going
            if going is None:
                return
            self._beginning.restore()
            self._begin(going, 0)

    def _live(self) -> KoboxError | None:
        try:
            self._life()
        except (BoxError, KernelError) as error:
            return error
        return None

    def _ended(self, error: KoboxError | None) -> Going:
        self.now = self.stepper.count + 1
        if isinstance(self._going, FindLast) and self._going.before >= self.now:
            self._found = self.stepper.last or self._found
            return self._found_last()
        if self._going is not None:
            raise ReplayError("the life of the module ended earlier than when it was lived before")
        return self._meet(Moment(StopReason.NONE, self.box.machine.pc, self.now, ended=True, error=error))

    # -- the way to a moment ------------------------------------------------------------------------------------

    def _step(self, run: MachineStep, until: int, blocks: int, stop_when_idle: bool) -> Event:
        """Let the machine run; come back to here for what lies between now and the end of this run."""
        machine = self.box.machine
        count, before = self.stepper.count, machine.checkpoint()
        try:
            while True:
                try:
                    return run(until, min(blocks, _MOST_BLOCKS), stop_when_idle)
                except _Back as back:
                    if not self._lies_behind(count, back.going):
                        raise
                    self._restore(before)
                    self._begin(back.going, count)
        finally:
            before.release()

    def _lies_behind(self, count: int, going: GoTo | FindLast) -> bool:
        if isinstance(going, GoTo):
            return going.count > count
        return going.before > count + 1

    def _restore(self, state: Checkpoint) -> None:
        self.box.machine.restore(state)
        self.box.log.forget()
        self.box.inspect.restored()

    def _begin(self, going: GoTo | FindLast, count: int) -> None:
        self.stepper.rewound(count)
        self._going, self._found, self._searched_from = going, None, count
        if isinstance(going, GoTo):
            self._writes = [write for write in self._writes if write.count <= going.count]
        target = self._target(going)
        self._to_write = [write for write in self._writes if count < write.count <= target]
        self._arm(target)

    def _target(self, going: GoTo | FindLast) -> int:
        return going.count if isinstance(going, GoTo) else going.before

    def _arm(self, target: int) -> None:
        self.stepper.search(self._to_write[0].count if self._to_write else target)

    def _reached(self, stop: Stop) -> None:
        self.now = stop.count
        going: Going = None
        if self._going is not None:
            target = self._target(self._going)
            self._found = self.stepper.last or self._found
            if stop.watched:  # by the instruction before this one: it lies behind
                self._found = replace(stop, reason=StopReason.WATCHED)
            while self._to_write and self._to_write[0].count == stop.count:
                self._do(self._to_write.pop(0))
            if stop.count != target:
                self._arm(target)
                return
            if isinstance(self._going, FindLast):
                going = self._found_last()
        if going is None:
            self._going = None
            going = self._meet(Moment(stop.reason, stop.pc, stop.count, stop.watched))
        if going is not None:
            raise _Back(going)

    def _found_last(self) -> Going:
        """What to do after a search: it may have to begin earlier."""
        assert isinstance(self._going, FindLast)
        found = self._found
        if found is not None and found.count - bool(found.watched) >= self._going.before:
            found = None
        if found is None and self._searched_from:
            return FindLast(self._searched_from + 1, self._going.then)
        return self._going.then(found)

    # -- what the debugger changes ------------------------------------------------------------------------------

    def write(self, address: int, data: bytes) -> None:
        """At a stop: write memory. It stays written until an earlier moment is gone back to. Raises `ValueError` where
        none is mapped writable."""
        self._change(_Write(self.now, address, data))

    def set_register(self, name: str, value: int) -> None:
        """At a stop: set a register by the machine's name. It stays set until an earlier moment is gone back to."""
        self._change(_Write(self.now, value, b"", name))

    def _change(self, write: _Write) -> None:
        self._do(write)
        self._writes.append(write)

    def _do(self, write: _Write) -> None:
        if write.register:
            self.box.machine.set_register(write.register, write.address)
        else:
            self.box.machine.write(write.address, write.data)
