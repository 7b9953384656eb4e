"""What happens in a box, for whoever wants to hear of it. Every subscription gives back a function that undoes it.

undo = box.events.slice.subscribe(look)        # many listeners, called in the order in which they came
undo = box.events.load.subscribe(load)         # many providers, the newest is asked first
undo = box.events.step.subscribe(between)      # many layers, the newest is the outermost
undo()                                         # removes exactly this one; a second time nothing happens

event     called with                        when
slice     ()                                 some ten times a second while a call is under way
restored  (virtual time before, in ns)       the box has gone back to a checkpoint
request   (program)                          the kernel has run a program of kobox's: /sbin/modprobe
load      (name or alias, parameters)        somebody wants a module loaded by name
step      (inner, until, blocks, when idle)  the machine is to run
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, ParamSpec, TypeAlias, TypeVar

from kobox.box.guest.process import Process
from kobox.machine.native_core import Event
from kobox.machine.subscribers import Subscribers

if TYPE_CHECKING:
    from kobox.kmod.modprobe import Loaded

P = ParamSpec("P")
R = TypeVar("R")

# Lets the machine run: (until: virtual ns, blocks: at most, stop_when_idle) -> why it has stopped.
MachineStep: TypeAlias = Callable[[int, int, bool], Event]
StepLayer: TypeAlias = Callable[[MachineStep, int, int, bool], Event]


class Providers(Generic[P, R]):
    """Those who can answer a question. The newest is asked first; one that returns None leaves it to the one before."""

    def __init__(self) -> None:
        self._providers: dict[int, Callable[P, R | None]] = {}
        self._next = 0

    def __len__(self) -> int:
        return len(self._providers)

    def subscribe(self, provider: Callable[P, R | None]) -> Callable[[], None]:
        """Ask `provider` from now on. The function that this returns undoes it; a second call of it does nothing."""
        key = self._next
        self._next += 1
        self._providers[key] = provider
        return lambda: self._providers.pop(key, None) and None

    def ask(self, *args: P.args, **kwargs: P.kwargs) -> R | None:
        """The first answer; None when nobody has one. What a provider raises ends the question."""
        for provider in reversed(tuple(self._providers.values())):
            answer = provider(*args, **kwargs)
            if answer is not None:
                return answer
        return None


class StepLayers:
    """How the machine is run: `run` itself, and layers round it, the newest outermost. Each gets the one inside it."""

    def __init__(self, run: MachineStep) -> None:
        self._run = run
        self._layers: dict[int, StepLayer] = {}
        self._next = 0
        self._whole = run

    def __len__(self) -> int:
        return len(self._layers)

    def subscribe(self, layer: StepLayer) -> Callable[[], None]:
        """Put a layer round the others. The function that this returns takes exactly this layer away again, whichever
        came after it; a second call of it does nothing."""
        key = self._next
        self._next += 1
        self._layers[key] = layer
        self._build()

        def undo() -> None:
            if self._layers.pop(key, None) is not None:
                self._build()

        return undo

    def __call__(self, until: int, blocks: int, stop_when_idle: bool) -> Event:
        """Let the machine run through all layers."""
        return self._whole(until, blocks, stop_when_idle)

    def _build(self) -> None:
        whole = self._run
        for layer in self._layers.values():
            whole = _round(layer, whole)
        self._whole = whole


def _round(layer: StepLayer, inner: MachineStep) -> MachineStep:
    return lambda until, blocks, stop_when_idle: layer(inner, until, blocks, stop_when_idle)


class BoxEvents:
    """The events of one box: `box.events`. See the table at the top of `kobox/box/events.py`."""

    def __init__(self, run: MachineStep) -> None:
        # A listener may look at the box (memory, log) and must make no system calls.
        self.slice: Subscribers[[], None] = Subscribers()
        self.restored: Subscribers[[int], None] = Subscribers()
        # A provider serves the program's request by system calls of that program, and returns True.
        self.request: Providers[[Process], bool] = Providers()
        # A provider loads the module and all that it needs.
        self.load: Providers[[str, str], Loaded] = Providers()
        self.step = StepLayers(run)
