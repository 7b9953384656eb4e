"""The life of modules as one function that can be called again and again: load, use, unload.

    life = ModuleLife(box, [ModuleFile("hello.ko")], [""])
    life()

Debuggers live it many times (`kobox.debug.replay`): it does the same each time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kobox.box.box import Box
from kobox.checks.fuzz.exercise_file import LoadsItself
from kobox.ko.modulefile import ModuleFile


class ModuleLife:
    """Loads `modules` in order, each with its parameters; calls each of `uses` with the box; runs each of `commands`, a
    line for the shell; unloads in reverse order. Tests load the modules themselves: they come first. Raises what these
    do.

    `said(text)` gets what the commands print, in the first life only.
    """

    def __init__(
        self,
        box: Box,
        modules: Sequence[ModuleFile],
        parameters: Sequence[str],
        *,
        uses: Sequence[Callable[[Box], Any]] = (),
        commands: Sequence[str] = (),
        said: Callable[[str], None] | None = None,
    ) -> None:
        self._box = box
        self._modules = tuple(zip(modules, parameters, strict=True))
        self._uses = tuple(uses)
        self._commands = tuple(commands)
        self._said = said

    def __call__(self) -> None:
        """Live it once."""
        said, self._said = self._said, None
        tests = [use for use in self._uses if isinstance(use, LoadsItself)]
        for test in tests:
            test(self._box)
        uses = [use for use in self._uses if not isinstance(use, LoadsItself)]
        if tests and not uses and not self._commands:
            return
        handles = [self._box.insmod(module.content, text) for module, text in self._modules]
        for use in uses:
            use(self._box)
        for command in self._commands:
            done = self._box.run(["/bin/sh", "-c", command], capture_output=True)
            if said is not None:
                said((done.stdout + done.stderr).decode(errors="replace"))
        for handle in reversed(handles):
            handle.unload()
