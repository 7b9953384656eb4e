"""The load plan: which modules to load, in which order, with which parameters, and why each.

Before a module come its dependencies (what they need first), before each of those its own soft dependencies
(`pre`), and behind it those that are to follow (`post`). What is required must load; a soft dependency may fail.
"""

from __future__ import annotations

import os

from kobox.kmod.config.modprobe_d import Config, Softdep
from kobox.kmod.plan import (
    ABSENT,
    BUILTIN,
    INSMOD,
    INSTALL,
    ForbiddenModuleError,
    IndexEntry,
    LoadPlan,
    LoadStep,
    Match,
    ModuleNotFoundInTreeError,
)
from kobox.ko.name import canonical, from_path
from kobox.startup import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


class Tree(Protocol):
    """What the planner asks a module tree (`kobox.kmod.module_tree.ModuleTree`)."""

    directory: str

    @property
    def config(self) -> Config:
        """The configuration of modprobe."""

    @property
    def softdeps(self) -> Mapping[str, Softdep]:
        """The soft dependencies of each module."""

    @property
    def missing(self) -> bool:
        """Whether there is no modules.dep.bin."""

    def lookup(self, name: str) -> list[Match]:
        """Every module that a name stands for."""

    def entry(self, module: str) -> IndexEntry | None:
        """A module's line in modules.dep."""

    def is_builtin(self, module: str) -> bool:
        """Whether the module is part of the kernel's image."""

    def names(self) -> list[str]:
        """The names of all modules that have a file."""


class Planner:
    """Makes the plan for one name."""

    def __init__(self, tree: Tree, *, use_blacklist: bool, ignore_commands: bool, repeated: bool) -> None:
        self._tree = tree
        self._config = tree.config
        self._use_blacklist = use_blacklist
        self._ignore_commands = ignore_commands
        self._repeated = repeated
        self._limited = bool(self._config.forbidden or self._config.allowed)
        self._steps: list[LoadStep] = []
        self._visited: set[str] = set()
        self._placed: set[str] = set()

    def plan(self, name: str, parameters: str) -> LoadPlan:
        """The plan for a name. Raises as `ModuleTree.resolve` does."""
        if name.startswith(("/", "./", "../")):
            return self._plan_file(name, parameters)
        matches = self._tree.lookup(name)
        if not matches:
            raise not_found(self._tree, name)
        if not self._repeated:
            matches = list({match.module: match for match in reversed(matches)}.values())[::-1]
        for match in matches:
            # Each match is planned on its own: modules of an earlier match are not taken as loaded.
            self._visited.clear()
            self._placed.clear()
            self._request(match, name, parameters)
        return LoadPlan(name, tuple(match.module for match in matches), tuple(self._steps))

    def _plan_file(self, name: str, parameters: str) -> LoadPlan:
        """The file itself is loaded; what its module needs is what the tree knows of a module of that name."""
        os.stat(name)
        path, module = os.path.join(os.getcwd(), name), from_path(name)
        if module in self._config.blacklist and self._use_blacklist:
            return LoadPlan(name, (module,), (LoadStep(ABSENT, module, "", "", "", "", "blacklisted", False, True),))
        if not self._config.is_allowed(module):
            raise ForbiddenModuleError(module, module)
        self._add(module, "asked for", True, "", parameters, self._ignore_commands)
        steps = [
            step._replace(path=path, action=INSMOD)
            if step.module == module and step.action in (ABSENT, INSMOD)
            else step
            for step in self._steps
        ]
        return LoadPlan(name, (module,), tuple(steps))

    def _request(self, match: Match, name: str, parameters: str) -> None:
        by_alias = bool(match.alias)
        reason = f"{name} is an alias of it" if by_alias else "asked for"
        if match.module in self._config.blacklist and (by_alias or self._use_blacklist):
            self._steps.append(LoadStep(ABSENT, match.module, "", "", "", "", "blacklisted", False, True))
            return
        if match.builtin or (not self._tree.entry(match.module) and self._tree.is_builtin(match.module)):
            self._builtin(match.module, reason, True)
            return
        self._add(match.module, reason, True, match.alias, parameters, self._ignore_commands)

    def _add(
        self, module: str, reason: str, required: bool, alias: str, parameters: str, ignore_commands: bool
    ) -> None:
        if module in self._visited:
            return
        self._visited.add(module)
        entry = self._tree.entry(module)
        below = entry.dependencies if entry else ()
        if self._limited:
            for each in (*below, module):
                if not self._config.is_allowed(each):
                    if required:
                        raise ForbiddenModuleError(each, module)
                    return
        for each in below:
            self._with_softdeps(each, f"dependency of {module}", required, "", "")
        if ignore_commands:
            # kmod ignores the softdeps of the module itself with its commands, and both of no other module.
            self._place(module, reason, required, alias, parameters, True)
        else:
            self._with_softdeps(module, reason, required, alias, parameters)

    def _with_softdeps(self, module: str, reason: str, required: bool, alias: str, parameters: str) -> None:
        softdep = self._tree.softdeps.get(module)
        if module in self._placed and not self._repeated:
            return
        if softdep:
            for name in softdep.pre:
                self._soft(name, f"softdep pre of {module}")
        self._place(module, reason, required, alias, parameters, False)
        if softdep:
            for name in softdep.post:
                self._soft(name, f"softdep post of {module}")

    def _soft(self, name: str, reason: str) -> None:
        for match in self._tree.lookup(canonical(name)):
            # modprobe does not apply the blacklist to soft dependencies, also not to those that are aliases.
            if match.builtin:
                self._builtin(match.module, reason, False)
            else:
                self._add(match.module, reason, False, match.alias, "", False)

    def _builtin(self, module: str, reason: str, required: bool) -> None:
        if module not in self._visited:
            self._visited.add(module)
            self._steps.append(LoadStep(BUILTIN, module, "", "", "", "", reason, required))

    def _place(
        self, module: str, reason: str, required: bool, alias: str, parameters: str, ignore_commands: bool
    ) -> None:
        if module in self._placed and not self._repeated:
            return
        self._placed.add(module)
        options = " ".join(text for name, text in self._config.options if name == module or (alias and name == alias))
        command = "" if ignore_commands else self._command(module)
        entry = self._tree.entry(module)
        if command:
            step = LoadStep(
                INSTALL, module, entry.path if entry else "", options, parameters, command, reason, required
            )
        elif entry:
            step = LoadStep(INSMOD, module, entry.path, options, parameters, "", reason, required)
        else:
            step = LoadStep(ABSENT, module, "", options, parameters, "", reason, required)
        self._steps.append(step)

    def _command(self, module: str) -> str:
        return next((command for name, command in self._config.installs if name == module), "")


def not_found(tree: Tree, name: str) -> ModuleNotFoundInTreeError:
    """The error for a name that matches no module, with a hint on what to do."""
    message = f"Module {name} not found in directory {tree.directory}"
    if tree.missing:
        if not os.path.isdir(tree.directory):
            hint = "There is no such directory: no modules are installed for this kernel release."
        else:
            hint = "There is no modules.dep.bin in it: run `depmod` to make the indexes."
        return ModuleNotFoundInTreeError(message, name=name, hint=hint)
    from difflib import get_close_matches

    wanted = canonical(name)
    near = tuple(get_close_matches(wanted, tree.names(), 3, 0.75))
    if stray := _stray_file(tree, wanted):
        hint = f"{stray} is there, but not in the indexes: run `depmod`."
    else:
        hint = f"Did you mean {' or '.join(near)}?" if near else ""
    return ModuleNotFoundInTreeError(message, name=name, suggestions=near, hint=hint)


def _stray_file(tree: Tree, name: str) -> str:
    """A module file of this name that the indexes don't know."""
    from kobox.kmod.config.depmod_d import SearchConfig
    from kobox.kmod.index.module_files import find_modules

    try:
        found = find_modules(tree.directory, SearchConfig()).modules
    except OSError:
        return ""
    return next((candidate.file for candidate in found if candidate.name == name), "")
