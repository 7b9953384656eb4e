"""One event, any number of listeners.

slot: Subscribers[[int], None] = Subscribers()
undo = slot.subscribe(print)
slot.notify(5)               # calls print(5)
undo()
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Subscribers(Generic[P, R]):
    """The listeners of one event, called in the order in which they subscribed.

    `changed`, if given, is called with True when the first listener comes and with False when the last one has gone:
    an event that costs something to watch is then watched only while somebody listens.
    """

    __slots__ = ("_changed", "_listeners", "_next")

    def __init__(self, changed: Callable[[bool], None] | None = None) -> None:
        self._listeners: dict[int, Callable[P, R]] = {}
        self._next = 0
        self._changed = changed

    def __len__(self) -> int:
        return len(self._listeners)

    def subscribe(self, listener: Callable[P, R]) -> Callable[[], None]:
        """Call `listener` at each event from now on. The function that this returns undoes exactly this subscription; a
        second call of it does nothing. A listener that subscribes twice is called twice."""
        key = self._next
        self._next += 1
        if not self._listeners and self._changed is not None:
            self._changed(True)
        self._listeners[key] = listener

        def undo() -> None:
            if self._listeners.pop(key, None) is not None and not self._listeners and self._changed is not None:
                self._changed(False)

        return undo

    def notify(self, *args: P.args, **kwargs: P.kwargs) -> list[R]:
        """Call every listener; returns their answers in order.

        A listener that subscribes meanwhile is called from the next event on; one whose subscription is undone
        meanwhile is not called. When a listener raises, the others are called all the same; then the first exception is
        raised, and its notes name the others.
        """
        answers: list[R] = []
        raised: BaseException | None = None
        for key, listener in tuple(self._listeners.items()):
            if key not in self._listeners:
                continue
            try:
                answers.append(listener(*args, **kwargs))
            except BaseException as error:
                if raised is None:
                    raised = error
                else:
                    raised.add_note(f"another listener of the same event raised {type(error).__name__}: {error}")
        if raised is not None:
            raise raised
        return answers
