"""What a name stands for, and what to do to load it, as data.

Source of the terms: modprobe(8), modprobe.d(5), modules.dep(5).
"""

from __future__ import annotations

from kobox.errors import KoboxError
from kobox.startup import NamedTuple

INSMOD, BUILTIN, INSTALL, ABSENT = "insmod", "builtin", "install", "absent"


class Match(NamedTuple):
    """A module that a name stands for. `alias` is what led to it, "" if that is its own name."""

    module: str
    alias: str
    builtin: bool = False


class IndexEntry(NamedTuple):
    """A module's line in modules.dep: its absolute path, and the names of what it needs in the order to load them."""

    path: str
    dependencies: tuple[str, ...]


class ModuleNotFoundInTreeError(KoboxError, LookupError):
    """There is no module of that name. `name` is the name asked for, `suggestions` are similar names."""

    def __init__(self, message: str, *, name: str, suggestions: tuple[str, ...] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.name = name
        self.suggestions = suggestions


class ForbiddenModuleError(KoboxError):
    """The configuration does not let a module be loaded. `module` is the one, `wanted_by` what needs it."""

    def __init__(self, module: str, wanted_by: str) -> None:
        needed = f", which {wanted_by} needs," if wanted_by != module else ""
        super().__init__(
            f"module {module}{needed} is not allowed by the configuration",
            hint="See the `forbid` and `allow` lines of modprobe.d.",
        )
        self.module = module
        self.wanted_by = wanted_by


class LoadStep(NamedTuple):
    """One step: what to do (`insmod`, `builtin`, `install`, `absent`), to which module, and why.

    `path` is the module's file; `options` the parameters from the configuration, and `parameters` those that were
    asked for, in the kernel's own syntax; `command` the install command. A step that is not `required` may fail.
    """

    action: str
    module: str
    path: str
    options: str
    parameters: str
    command: str
    reason: str
    required: bool
    blacklisted: bool = False

    @property
    def argument(self) -> str:
        """The parameter string for the kernel: the configuration's, then those asked for, which win."""
        return f"{self.options} {self.parameters}" if self.options else self.parameters

    def __str__(self) -> str:
        """The line that `modprobe --show-depends` prints."""
        if self.action == BUILTIN:
            return f"builtin {self.module}"
        if self.action == INSTALL:
            return f"install {self.command} {self.argument}"
        return f"{self.action} {self.path} {self.argument}"


class LoadPlan(NamedTuple):
    """The steps that load what a name stands for, in order, and the modules that it stands for."""

    name: str
    modules: tuple[str, ...]
    steps: tuple[LoadStep, ...]
