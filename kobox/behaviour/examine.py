"""Loads a module in a box, lets it live, takes it out, and tells what it did.

    with kobox.boot() as box:
        report = examine(box, ModuleFile("stranger.ko"))
        print(report.judgement)

The order: the file; load; does it show itself; an hour of a machine's life, or as long as it waits; a login and keys;
signals and words that grant; what it hides; which packets it takes; unload; what it has left changed. The kernel's
image, its processor's registers, its tables of operations and its security hooks are compared before it is loaded,
while it lives, and at the end.

All of it together gets `box.limits.cpu` seconds of CPU time, and a call of the box's no more.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

from kobox.behaviour.calls import ModuleCalls
from kobox.behaviour.guards import ProcessorGuards
from kobox.behaviour.hiding import (
    hidden_files,
    hidden_log_lines,
    hidden_module,
    hidden_processes,
    hidden_sockets,
    names_in,
    names_in_memory,
    ports_in,
    threads_of,
    threads_that_stay,
)
from kobox.behaviour.instructions import ExecutedInstructions
from kobox.behaviour.kernel_image import KernelImageDiff
from kobox.behaviour.operations import Operations
from kobox.behaviour.packets import Packets
from kobox.behaviour.report import BehaviourReport, Level, Trait
from kobox.behaviour.security_hooks import SecurityHooks
from kobox.behaviour.static import static_traits
from kobox.behaviour.stimuli import (
    daily_life,
    keyboard_of,
    login,
    signals_that_grant,
    type_keys,
    words_that_grant,
)
from kobox.box.box import Box
from kobox.box.inspect.symbols import LoadedAt
from kobox.errors import KoboxError
from kobox.ko.modulefile import ModuleFile

_MOST_WORDS, _MOST_TYPED = 60, 30  # that are tried in ways which take several system calls each, and typed


def examine(box: Box, file: ModuleFile, parameters: str = "") -> BehaviourReport:
    """Let a module live in a box, and report what it does. The box is of no use for anything else after that."""
    report = BehaviourReport(file.name, str(file.path), box.release)
    report.traits += static_traits(file)
    with box.guest.processes.budget(box.limits.cpu):
        _Examination(box, file, report).run(parameters)
    return report


class _Guards:
    """What is compared: the kernel's image, registers, tables of operations and security hooks as they were."""

    def __init__(self, box: Box) -> None:
        self._operations, self._hooks = Operations(box), SecurityHooks(box)
        self._registers, self._image = ProcessorGuards(box), KernelImageDiff(box)

    def close(self) -> None:
        """Watch no more."""
        self._image.close()

    def traits(self, module: LoadedAt | None) -> Iterator[Trait]:
        """What has changed since."""
        inside = module.__contains__ if module is not None else lambda _: False
        yield from self._image.traits(module)
        yield from self._registers.traits()
        yield from self._operations.traits(inside)
        yield from self._hooks.traits(inside)


class _Examination:
    def __init__(self, box: Box, file: ModuleFile, report: BehaviourReport) -> None:
        self._box = box
        self._file = file
        self._report = report
        self._module: LoadedAt | None = None

    def run(self, parameters: str) -> None:
        words, ports = names_in(self._file), ports_in(self._file)
        with ExitStack() as stack:
            keyboard = keyboard_of(self._box)
            packets = Packets(self._box, words, ports)
            guards = _Guards(self._box)
            stack.callback(guards.close)
            calls = ModuleCalls(self._box)
            stack.callback(calls.close)
            instructions = ExecutedInstructions(self._box, self._file)
            stack.callback(instructions.close)
            stack.enter_context(self._box.probe("do_init_module", lambda hit: self._comes(calls, instructions)))
            threads = threads_of(self._box)
            if self._load(parameters):
                self._look(lambda: _nothing(lambda: words.extend(self._words_it_has_made(words))))
                for look in (
                    lambda: hidden_module(self._box, self._file),
                    lambda: self._changes(guards),
                    lambda: _nothing(lambda: daily_life(self._box, lambda: calls.longest_wait)),
                    lambda: _nothing(lambda: login(self._box)),
                    lambda: _nothing(lambda: type_keys(self._box, keyboard, words[:_MOST_TYPED])),
                    lambda: signals_that_grant(self._box),
                    lambda: words_that_grant(self._box, words[:_MOST_WORDS]),
                    lambda: hidden_processes(self._box),
                    lambda: hidden_files(self._box, words),
                    lambda: hidden_sockets(self._box, ports),
                    lambda: hidden_log_lines(self._box, words),
                    packets.traits,
                    lambda: self._changes(guards),
                ):
                    self._look(look)
                if self._unload(self._file.name):
                    self._module = None
                    self._look(lambda: threads_that_stay(self._box, threads))
                    self._look(lambda: self._changes(guards))
            self._report.traits += instructions.traits.values()
            self._report.traits += calls.traits.values()
        if not self._box.alive:
            text = "it stops the kernel: what comes after that could not be looked at"
            self._report.traits.append(Trait("stops the kernel", "suspicious", text, time=self._box.time))
        if self._box.findings:
            first = self._box.findings[0]
            self._report.traits.append(Trait("kernel report", "suspicious", f"the kernel reports: {first}"))

    def _words_it_has_made(self, words: Sequence[str]) -> list[str]:
        """Words in its memory that its file does not have: it has put them together when it was loaded."""
        return names_in_memory(self._box, self._module, words) if self._module is not None else []

    def _changes(self, guards: _Guards) -> Iterator[Trait]:
        """What is not as it was before the module came, and was not told yet."""
        seen = {(trait.kind, trait.text) for trait in self._report.traits}
        for trait in guards.traits(self._module):
            if (trait.kind, trait.text) not in seen:
                yield trait

    def _comes(self, calls: ModuleCalls, instructions: ExecutedInstructions) -> None:
        """The module is in memory, and its init is about to run: the last moment at which it cannot have hidden."""
        for module in self._box.inspect.symbols.modules():
            if module.name == self._file.name:
                self._module = module
                calls.place(module)
                instructions.place(module.name)

    def _load(self, parameters: str) -> bool:
        try:
            for name in self._file.depends:
                self._box.modprobe(name)
            self._box.insmod(self._file.content, parameters)
        except (KoboxError, LookupError) as error:
            first = str(error).split("\n", 1)[0]
            self._report.unseen.append(f"it was not loaded, so that only its file was looked at: {first}")
            return False
        return True

    def _look(self, what: Callable[[], Iterator[Trait]]) -> None:
        """Look at one thing; a box that a module has broken is a trait, too."""
        if not self._box.alive:
            return
        try:
            self._report.traits += what()
        except (KoboxError, OSError, ValueError, LookupError, ArithmeticError, struct.error) as error:
            # The guest answers these questions: it may say anything.
            first = str(error).split("\n", 1)[0]
            self._report.unseen.append(f"something could not be looked at: {first}")

    def _unload(self, name: str) -> bool:
        if not self._box.alive:
            return False
        try:
            self._box.rmmod(name)
        except (KoboxError, OSError) as error:
            first = str(error).split("\n", 1)[0]
            has_exit = b"cleanup_module" in {symbol.name for symbol in self._file.elf.symbols()}
            # One that is in use is pinned by its own sockets or users, as honest ones are; one that is not found hides.
            level: Level = "suspicious" if has_exit and not _in_use(error) else "note"
            self._report.traits.append(Trait("stays", level, f"it cannot be unloaded: {first}", time=self._box.time))
            return False
        return True


def _in_use(error: Exception) -> bool:
    return getattr(error, "errno", 0) in (errno.EAGAIN, errno.EBUSY)


def _nothing(do: Callable[[], None]) -> Iterator[Trait]:
    do()
    return iter(())
