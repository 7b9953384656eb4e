"""The state of a model at a checkpoint: its attributes, copied.

restore = save_state(model, leave_out={"_function"})     now
restore()                                                any number of times: the attributes are as they were

An attribute with a `save` method of its own (a network port, a medium, a timer) goes back by that method and
stays the same object; every other attribute is deep-copied.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from typing import Protocol, runtime_checkable

Restore = Callable[[], None]


@runtime_checkable
class Saveable(Protocol):
    """An object that keeps its own state for a checkpoint."""

    def save(self) -> Restore: ...


def save_state(model: object, leave_out: Collection[str] = ()) -> Restore:
    """A function that gives an object back the attributes that it has now, but not those that `leave_out` names."""
    names = {name: value for name, value in vars(model).items() if name not in leave_out}
    parts = {name: value for name, value in names.items() if isinstance(value, Saveable)}
    undo = [part.save() for part in parts.values()]
    own = copy.deepcopy({name: value for name, value in names.items() if name not in parts})

    def restore() -> None:
        kept = vars(model)
        for name in [name for name in kept if name not in leave_out and name not in names]:
            delattr(model, name)
        kept.update(copy.deepcopy(own))
        kept.update(parts)
        for one in undo:
            one()

    return restore
