"""Modules of a tree that nobody loads: what could go from an image, or on a blacklist."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kobox.ko.name import canonical
from kobox.monitor.history import History
from kobox.monitor.status import KernelModules


@dataclass(frozen=True, slots=True)
class NeverLoaded:
    """`names`: modules that are in the tree, and were not loaded in any look or event. `of`: how many the tree has.
    `since`: the time of the oldest event that was asked (seconds since the epoch; 0: of none)."""

    names: tuple[str, ...]
    of: int
    since: float = 0


def never_loaded(tree: Iterable[str], looks: Iterable[KernelModules], history: History | None = None) -> NeverLoaded:
    """Compare the names of a tree with what looks and a history know. Raises `HistoryError`."""
    names = {canonical(name) for name in tree}
    known = {name for look in looks for name in look.modules}
    since = 0.0
    if history is not None:
        known |= set(history.modules())
        since = history.begins()
    return NeverLoaded(tuple(sorted(names - known)), len(names), since)
