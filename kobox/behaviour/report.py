"""What a module was seen doing, and what to think of it.

A trait is one thing seen, with its evidence. Three levels:

    hostile      no honest module does it: it hides, overwrites code or tables of the kernel, hands out root
    suspicious   honest modules do it now and then, and hostile ones often: look at the evidence
    note         what the module is made of: devices, files, hooks by the kernel's own means
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Level = Literal["hostile", "suspicious", "note"]
LEVELS: tuple[Level, ...] = ("hostile", "suspicious", "note")


@dataclass(frozen=True, slots=True)
class Trait:
    """One thing that a module does. `where` is the code that did it, as "function+0x12 [module]", or the file's part.

    `before` and `after` are what was there and what is there now, in words; `time` is in seconds of the box's clock,
    None for what is seen in the file.
    """

    kind: str
    level: Level
    text: str
    where: str = ""
    before: str = ""
    after: str = ""
    time: float | None = None


@dataclass(slots=True)
class BehaviourReport:
    """All that was seen of a module on one kernel. `unseen` says in sentences what could not be looked at."""

    module: str
    path: str
    release: str
    traits: list[Trait] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)

    @property
    def level(self) -> Level:
        """The highest level of all traits."""
        return next((level for level in LEVELS if any(trait.level == level for trait in self.traits)), "note")

    @property
    def judgement(self) -> str:
        """One line: the level and its reasons."""
        if self.level == "note":
            return "nothing hostile or suspicious seen"
        reasons = dict.fromkeys(trait.kind for trait in self.traits if trait.level == self.level)
        return f"{self.level}: {', '.join(reasons)}"
