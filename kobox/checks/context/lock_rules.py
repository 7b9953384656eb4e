"""What the functions of locks do for the watcher, and the table of context.toml: which functions may sleep."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from kobox.box.inspect.lock_table import LockKind, lock_kinds
from kobox.box.inspect.objects import Objects
from kobox.checks.context.locks import SPINNING
from kobox.errors import KoboxError
from kobox.machine.watch_context import BH, IRQ, RESTORES, SPINS, Role, Word

RCU, PREEMPTION, INTERRUPTS_OFF_SECTION = "RCU read-side section", "preemption", "interrupts"
KINDS = (*SPINNING, "mutex", "rwsem", "rwsem for reading", RCU, PREEMPTION, INTERRUPTS_OFF_SECTION)
"""What can be held or open, by its number for the watcher."""


@dataclass(frozen=True, slots=True)
class Table:
    """What context.toml says: functions that sleep, that may meet a page that is not there, that sleep by their flags
    (the number of that argument); and the locks of `lock_table`."""

    sleeps: frozenset[str]
    faults: frozenset[str]
    flags: dict[str, int]
    locks: tuple[LockKind, ...]


@cache
def context_table() -> Table:
    """The table, read once."""
    data = tomllib.loads(Path(__file__).with_name("context.toml").read_text())
    return Table(
        frozenset(data["sleeps"]),
        frozenset(data["faults"]),
        {name: int(number) for number, names in data["flags"].items() for name in names},
        lock_kinds(),
    )


def lock_rules(kind: LockKind, objects: Objects) -> Iterator[tuple[str, dict[str, int]]]:
    """What the functions of one kind of lock do: their names, and the arguments of `ContextWatch.rule`."""
    word, offset = Word.NONE, 0
    if kind.kind in SPINNING:
        word = Word.NUMBER
    elif kind.kind != RCU:
        word = Word.OWNER
        with suppress(KoboxError):
            offset = objects.offset("mutex.owner" if kind.kind == "mutex" else "rw_semaphore.owner")
    common = {"kind": KINDS.index(kind.kind), "word": word, "offset": offset}
    common["other"] = KINDS.index("rwsem for reading")
    takes, releases = (Role.OPENS, Role.CLOSES) if kind.kind == RCU else (Role.TAKES, Role.RELEASES)
    for role, names in (
        (takes, kind.takes),
        (Role.TAKES_OR_FAILS, kind.takes_or_fails),
        (Role.TRIES, kind.tries),
        (releases, kind.releases),
    ):
        for name in names:
            flags = SPINS * (kind.kind in SPINNING) | IRQ * ("_irq" in name) | BH * ("_bh" in name)
            if name.endswith("_irqrestore"):
                flags |= RESTORES
                common = {**common, "other": KINDS.index(INTERRUPTS_OFF_SECTION)}
            yield name, {**common, "flags": flags, "role": Role.DOWNGRADES if name == "downgrade_write" else role}
