"""modprobe: a module and all it needs, into or out of a kernel.

    >>> modprobe(kernel, tree, "btrfs").loaded
    ('libcrc32c', 'zstd_compress', 'raid6_pq', 'xor', 'btrfs')

The tree says what to do (`tree.resolve`), the kernel is asked what is there already, and does it. The same function
answers the kernel's own request_module(): a name or an alias in, the plan executed.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from kobox.errors import KernelError, KoboxError, ModuleLoadError, ModuleUnloadError
from kobox.kernel import sysfs_modules as loaded
from kobox.kernel.interface import InitFlags, Kernel
from kobox.kmod import insmod as inserting
from kobox.kmod import parameters as syntax
from kobox.kmod import rmmod as removing
from kobox.kmod.module_tree import ModuleTree
from kobox.kmod.plan import ABSENT, BUILTIN, INSTALL, LoadPlan, LoadStep, Match
from kobox.kmod.resolve import not_found
from kobox.ko.name import canonical, from_path

# Commands that only say yes or no: what they are there for is known without a shell.
_YES = frozenset({"/bin/true", "/usr/bin/true", "true", ":"})
_NO = frozenset({"/bin/false", "/usr/bin/false", "false"})


class Loaded(NamedTuple):
    """What modprobe did: the plan, the modules that it loaded, and those of the plan that were there before."""

    plan: LoadPlan
    loaded: tuple[str, ...]
    present: tuple[str, ...]


class Options(NamedTuple):
    """How to load or remove.

    `first_time`: loading a module that is loaded (or removing one that is not) is an error. `use_blacklist`: the
    blacklist applies to module names, not only to aliases. `ignore_commands`: ignore install and remove lines.
    `flags`: checks that the kernel leaves out. `dry_run`: only `show` what would be done. `run_commands`: run install
    and remove commands in this machine's shell; None: only when the kernel is this machine's. `wait_ms`: milliseconds
    to wait until a module is not used any more. `force`: remove a module even if it is in use.
    """

    first_time: bool = False
    use_blacklist: bool = False
    ignore_commands: bool = False
    flags: InitFlags = InitFlags.NONE
    dry_run: bool = False
    run_commands: bool | None = None
    remove_holders: bool = False
    wait_ms: int = 0
    force: bool = False
    show: Callable[[str], None] | None = None


class CommandFailedError(KoboxError):
    """An install or remove command ended with an error, or must not be run here. `command` is it."""

    def __init__(self, message: str, command: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.command = command


def modprobe(
    kernel: Kernel,
    tree: ModuleTree,
    name: str,
    parameters: str | Mapping[str, object] = "",
    options: Options | None = None,
) -> Loaded:
    """Load what a name, an alias or a module file's path stands for, with everything it needs.

    Raises `ModuleNotFoundInTreeError`, `ForbiddenModuleError`, `CommandFailedError`, `ModuleLoadError`.
    """
    how = options or Options()
    text = parameters if isinstance(parameters, str) else syntax.join(parameters)
    plan = tree.resolve(name, text, use_blacklist=how.use_blacklist, ignore_commands=how.ignore_commands)
    return _Execution(kernel, plan, how).run()


class _Execution:
    """One run through a plan."""

    def __init__(self, kernel: Kernel, plan: LoadPlan, options: Options) -> None:
        self._kernel = kernel
        self._plan = plan
        self._options = options
        self._loaded: list[str] = []
        self._present: list[str] = []

    def run(self) -> Loaded:
        asked = set(self._plan.modules)
        skip: set[str] = set()
        if not self._options.dry_run:
            skip = {module for module in asked if loaded.is_in_kernel(self._kernel, module)}
        if self._options.first_time:
            self._refuse_present(skip)
        for step in self._needed(skip):
            try:
                self._do(step)
            except (KernelError, CommandFailedError):
                if step.required:
                    raise
        return Loaded(self._plan, tuple(self._loaded), (*sorted(skip), *self._present))

    def _needed(self, skip: set[str]) -> Iterable[LoadStep]:
        """The steps up to each module asked for, without those of a module that is there already."""
        group: list[LoadStep] = []
        for step in self._plan.steps:
            group.append(step)
            if step.module in self._plan.modules:
                if step.module not in skip:
                    yield from group
                group = []
        if not skip:
            yield from group

    def _refuse_present(self, skip: set[str]) -> None:
        builtin = {step.module for step in self._plan.steps if step.action == BUILTIN}
        for module in self._plan.modules:
            if module in skip or module in builtin:
                raise ModuleLoadError(errno.EEXIST, f"could not insert '{module}'", module=module)

    def _do(self, step: LoadStep) -> None:
        options, kernel = self._options, self._kernel
        if step.action == BUILTIN or step.blacklisted:
            return
        if step.action == ABSENT:
            if not options.dry_run:
                raise ModuleLoadError(
                    errno.ENOENT, f"could not insert '{step.module}'", module=step.module, hint="It has no file."
                )
            return
        if not options.dry_run and loaded.is_in_kernel(kernel, step.module):
            self._present.append(step.module)
            return
        if options.show:
            options.show(str(step))
        if options.dry_run:
            return
        if step.action == INSTALL:
            run_command(kernel, step.module, step.command, "install", step.argument, options)
        else:
            try:
                inserting.insmod(kernel, step.path, step.argument, options.flags)
            except FileNotFoundError as error:
                raise ModuleLoadError(
                    errno.ENOENT,
                    f"could not insert '{step.module}'",
                    module=step.module,
                    hint=f"{step.path} is in the indexes but not there: they are stale, run `depmod`.",
                ) from error
            except ModuleLoadError as error:
                if error.errno != errno.EEXIST or (options.first_time and step.module in self._plan.modules):
                    raise
                self._present.append(step.module)
                return
        self._loaded.append(step.module)


def run_command(kernel: Kernel, module: str, command: str, kind: str, argument: str, options: Options) -> None:
    """Run an install or remove command by the shell of this machine, as modprobe.d(5) describes.

    Raises `CommandFailedError` when it fails, or when the kernel is not this machine's and `run_commands` is not set.
    """
    text = command.strip()
    if text in _YES:
        return
    allowed = options.run_commands
    if allowed is None:
        from kobox.kernel.host import Host

        allowed = isinstance(kernel, Host)
    if text in _NO:
        raise CommandFailedError(
            f"the {kind} command of {module} is `{text}`: this module must not be {kind}ed", command
        )
    if not allowed:
        raise CommandFailedError(
            f"{module} has the {kind} command `{text}`, which would run on this machine, not in the box",
            command,
            hint="Allow that with run_commands=True, or pass ignore_commands=True to load the module itself.",
        )
    import subprocess

    line = command.replace("$CMDLINE_OPTS", argument)
    environment = {**os.environ, "MODPROBE_MODULE": module}
    status = subprocess.run(["/bin/sh", "-c", line], env=environment, check=False).returncode
    if status:
        raise CommandFailedError(
            f"Error running {kind} command '{text}' for module {module}: retcode {status}", command
        )


class Removal(NamedTuple):
    """What modprobe -r did: the modules that it took out, in order."""

    removed: tuple[str, ...]


def remove(kernel: Kernel, tree: ModuleTree, name: str, options: Options | None = None) -> Removal:
    """Unload the modules that a name stands for, and their dependencies that no other module uses.

    Raises `ModuleNotFoundInTreeError`, `ModuleUnloadError`, `CommandFailedError`.
    """
    matches = tree.lookup(from_path(name) if name.startswith(("/", "./", "../")) else name)
    if not matches and loaded.init_state(kernel, canonical(name)):
        # A module from elsewhere, loaded by insmod, can be removed too.
        matches = [Match(canonical(name), "")]
    if not matches:
        raise not_found(tree, name)
    removal = _Removal(kernel, tree, options or Options())
    for match in matches:
        removal.remove(match.module, asked=True)
    return Removal(tuple(removal.removed))


class _Removal:
    def __init__(self, kernel: Kernel, tree: ModuleTree, options: Options) -> None:
        self._kernel = kernel
        self._tree = tree
        self._options = options
        self.removed: list[str] = []

    def remove(self, module: str, *, asked: bool) -> None:
        options, softdep = self._options, self._tree.softdeps.get(module)
        command = self._command(module)
        if not command and not self._is_removable(module, asked):
            return
        if softdep and not options.ignore_commands:
            self._remove_quietly(reversed(softdep.post))
        if options.remove_holders and not options.dry_run:
            for holder in loaded.holders(self._kernel, module):
                self.remove(holder, asked=True)
            # Removing the last of them may have removed this one, as an unused dependency.
            if not command and not loaded.init_state(self._kernel, module):
                return
        if not command:
            self._wait_until_unused(module)
        self._take_out(module, command)
        entry = self._tree.entry(module)
        if entry:
            self._remove_quietly(reversed(entry.dependencies))
        if softdep and not options.ignore_commands:
            self._remove_quietly(reversed(softdep.pre))

    def _command(self, module: str) -> str:
        if self._options.ignore_commands:
            return ""
        return next((command for name, command in self._tree.config.removes if name == module), "")

    def _is_removable(self, module: str, asked: bool) -> bool:
        state = loaded.init_state(self._kernel, module)
        if state == loaded.BUILTIN or (not state and self._tree.is_builtin(module)):
            if asked:
                raise ModuleUnloadError(errno.ENOENT, f"Module {module} is builtin.", module=module)
            return False
        if not state and asked and self._options.first_time:
            raise ModuleUnloadError(errno.ENOENT, f"Module {module} is not in kernel.", module=module)
        return bool(state)

    def _wait_until_unused(self, module: str) -> None:
        """Wait until a module is not used. Raises `ModuleUnloadError` when it still is after `wait_ms`."""
        if self._options.force:
            return
        end = time.monotonic() + self._options.wait_ms / 1000
        pause = 0.001
        while loaded.refcount(self._kernel, module) > 0:
            if time.monotonic() + pause > end:
                raise ModuleUnloadError(
                    errno.EBUSY,
                    f"Module {module} is in use.",
                    module=module,
                    hint="`lsmod` shows which modules use it; -w waits, --remove-holders removes those too.",
                )
            time.sleep(pause)
            pause = min(2 * pause, 0.1)

    def _take_out(self, module: str, command: str) -> None:
        options = self._options
        if options.show:
            options.show(f"remove {command}" if command else f"rmmod {module}")
        if options.dry_run:
            return
        if command:
            run_command(self._kernel, module, command, "remove", "", options)
        else:
            removing.remove(self._kernel, module, force=options.force)
        self.removed.append(module)

    def _remove_quietly(self, names: Iterable[str]) -> None:
        """Remove modules that are unused now; one that cannot be removed stays."""
        for name in names:
            for match in self._tree.lookup(name):
                if loaded.refcount(self._kernel, match.module) != 0 and not self._command(match.module):
                    continue
                try:
                    self.remove(match.module, asked=False)
                except (KernelError, CommandFailedError):
                    continue
