"""What is said about a module file: the facts found before it is loaded, and the answer of a real kernel."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kobox.kernel.interface import InitFlags
from kobox.ko.modulefile import ModuleFile

if TYPE_CHECKING:
    from cryptography import x509


@dataclass(frozen=True, slots=True)
class Fact:
    """What one check found. `errno` is the kernel's answer when the check fails, "" when it passes.

    `rule` is named as in `kobox.explain.log_rules`; `log` are the lines that the kernel prints.
    """

    rule: str
    text: str
    errno: str = ""
    advice: str = ""
    log: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Conditions:
    """How a module is loaded: the kernel's command line, what the kernel trusts, parameters, finit_module(2)'s flags,
    and the modules that are loaded before it (`beside`). `disabled`: kernel.modules_disabled is 1."""

    parameters: str = ""
    cmdline: str = ""
    trust: tuple[x509.Certificate, ...] = ()
    enforce: bool = False
    lockdown: str = ""
    flags: InitFlags = InitFlags.NONE
    beside: tuple[ModuleFile, ...] = ()
    disabled: bool = False

    def enforces(self) -> bool:
        """Whether signatures are enforced, by the command line's word too."""
        words = re.findall(r"(?:^|\s)module\.sig_enforce(?:=(\S+))?", self.cmdline)
        return self.enforce or any(word in ("", "1", "y", "Y") for word in words)

    def locked_down(self) -> str:
        """The level of lockdown, "" for none."""
        return self.lockdown or "".join(re.findall(r"(?:^|\s)lockdown=(\S+)", self.cmdline)[-1:])

    def blacklist(self) -> list[str]:
        """The names in module_blacklist=."""
        return ",".join(re.findall(r"(?:^|\s)module_blacklist=(\S+)", self.cmdline)).split(",")


PLAIN = Conditions()
"""As modprobe loads it: no parameters, nothing enforced, nothing loaded before."""


@dataclass(frozen=True, slots=True)
class BoxAnswer:
    """What a real kernel answered: the errno's name, "" when the module was loaded, "DIED" when the loading process was
    killed by an oops; and what it printed.

    `reached_init` says whether the module's own init function ran: an error is then init's, not the loader's.
    `init_call` is the call of init that returned the error: "register_kprobe() at hello.c:9", "" where it is not known.
    """

    errno: str
    log: tuple[str, ...]
    note: str = ""
    reached_init: bool = False
    init_call: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Whether and why a module would load. `size` is what it takes in the kernel's memory, in bytes.

    `dependencies` are modules of the kernel's tree that have to be loaded before it. `packed`: insmod and modprobe
    leave it to the kernel to unpack the file (finit_module(2) with MODULE_INIT_COMPRESSED_FILE).
    """

    path: str
    module: str
    kernel: str
    facts: tuple[Fact, ...]
    dependencies: tuple[str, ...] = ()
    size: int = 0
    answer: BoxAnswer | None = None
    packed: bool = False

    @property
    def decisive(self) -> Fact | None:
        """The check that the kernel stops at."""
        return next((fact for fact in self.facts if fact.errno), None)

    @property
    def errno(self) -> str:
        """The kernel's answer: the box's if it was asked, else the one expected; "" for a module that loads."""
        if self.answer is not None:
            return self.answer.errno
        return self.decisive.errno if self.decisive else ""

    @property
    def log(self) -> tuple[str, ...]:
        """What the kernel says to it."""
        if self.answer is not None:
            return self.answer.log
        return self.decisive.log if self.decisive else tuple(line for fact in self.facts for line in fact.log)

    @property
    def agrees(self) -> bool:
        """Whether the box, if asked, answered as expected."""
        expected = self.decisive.errno if self.decisive else ""
        return self.answer is None or self.answer.errno == expected
