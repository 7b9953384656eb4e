"""What was counted: the chains of calls that begin in modules, and what each executed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from kobox.box.profile.resources import ResourceCosts
from kobox.errors import KoboxError

FORMAT = 1


class ProfileFormatError(KoboxError):
    """What was read is no profile."""


@dataclass(frozen=True, slots=True)
class FunctionName:
    """A function; `module` is "" for the kernel's own."""

    name: str
    module: str = ""

    def __str__(self) -> str:
        return f"{self.name} [{self.module}]" if self.module else self.name


@dataclass(frozen=True, slots=True)
class CallChain:
    """Functions, the outermost first, and what the innermost executed itself when it was called so.

    `calls`, `blocks` and `instructions` are exact; `stack` is the most of the kernel's stack that was in use there, in
    bytes.
    """

    functions: tuple[FunctionName, ...]
    calls: int
    blocks: int
    instructions: int
    stack: int


@dataclass(frozen=True, slots=True)
class FunctionCost:
    """A function by itself (`own`) and with all it calls (`total`), in instructions."""

    function: FunctionName
    calls: int
    own: int
    total: int
    stack: int


@dataclass(frozen=True, slots=True)
class LineCost:
    """A line of a module's source: how often its most frequent instruction was executed, and how many instructions it
    executed in all."""

    module: str
    file: str
    line: int
    count: int
    instructions: int


@dataclass(frozen=True)
class ProfileCosts:
    """All that was counted. `is_whole` says that nothing was left out; `ended_by` what ended the module's life, if that
    was an error."""

    kernel: str
    chains: tuple[CallChain, ...]
    lines: tuple[LineCost, ...] = ()
    is_whole: bool = True
    ended_by: str | None = None
    label: str = field(default="", compare=False)
    """What tells this profile from others beside it."""
    resources: ResourceCosts = field(default_factory=ResourceCosts)

    @cached_property
    def instructions(self) -> int:
        """All instructions that modules executed, and the kernel for them."""
        return sum(chain.instructions for chain in self.chains)

    @cached_property
    def functions(self) -> tuple[FunctionCost, ...]:
        """Each function once, the dearest first. A function that is in a chain twice counts there once."""
        calls: dict[FunctionName, int] = {}
        own: dict[FunctionName, int] = {}
        total: dict[FunctionName, int] = {}
        stack: dict[FunctionName, int] = {}
        for chain in self.chains:
            last = chain.functions[-1]
            calls[last] = calls.get(last, 0) + chain.calls
            own[last] = own.get(last, 0) + chain.instructions
            stack[last] = max(stack.get(last, 0), chain.stack)
            for function in dict.fromkeys(chain.functions):
                total[function] = total.get(function, 0) + chain.instructions
        found = [
            FunctionCost(name, calls.get(name, 0), own.get(name, 0), total[name], stack.get(name, 0)) for name in total
        ]
        return tuple(sorted(found, key=lambda one: (-one.total, -one.own, one.function.name)))

    @cached_property
    def entries(self) -> tuple[FunctionCost, ...]:
        """The functions by which the kernel comes into modules (`hello_write`, a timer's), with all that they cost."""
        calls: dict[FunctionName, int] = {}
        total: dict[FunctionName, int] = {}
        own: dict[FunctionName, int] = {}
        stack: dict[FunctionName, int] = {}
        for chain in self.chains:
            first = chain.functions[0]
            total[first] = total.get(first, 0) + chain.instructions
            stack[first] = max(stack.get(first, 0), chain.stack)
            if len(chain.functions) == 1:
                calls[first] = calls.get(first, 0) + chain.calls
                own[first] = own.get(first, 0) + chain.instructions
        found = [FunctionCost(name, calls.get(name, 0), own.get(name, 0), total[name], stack[name]) for name in total]
        return tuple(sorted(found, key=lambda one: (-one.total, one.function.name)))

    def calls_of(self, *names: str) -> Mapping[FunctionName, int]:
        """How often each function of a module has itself called one of the kernel's functions of these names."""
        found: dict[FunctionName, int] = {}
        for chain in self.chains:
            *_, caller, last = (FunctionName(""), *chain.functions)
            if caller.module and not last.module and last.name in names:
                found[caller] = found.get(caller, 0) + chain.calls
        return found

    def plain(self) -> dict[str, Any]:
        """As JSON has it; `ProfileCosts.of_plain` reads it."""
        return {
            "format": FORMAT,
            "kernel": self.kernel,
            "instructions": self.instructions,
            "whole": self.is_whole,
            "ended_by": self.ended_by,
            "functions": [
                {
                    "name": one.function.name,
                    "module": one.function.module,
                    "calls": one.calls,
                    "own": one.own,
                    "total": one.total,
                    "stack": one.stack,
                }
                for one in self.functions
            ],
            "lines": [
                {
                    "module": one.module,
                    "file": one.file,
                    "line": one.line,
                    "count": one.count,
                    "instructions": one.instructions,
                }
                for one in self.lines
            ],
            "chains": [
                {
                    "functions": [[one.name, one.module] for one in chain.functions],
                    "calls": chain.calls,
                    "blocks": chain.blocks,
                    "instructions": chain.instructions,
                    "stack": chain.stack,
                }
                for chain in self.chains
            ],
            **self.resources.plain(),
        }

    @classmethod
    def of_plain(cls, data: object, label: str = "") -> ProfileCosts:
        """What `plain` wrote. Raises `ProfileFormatError` for anything else."""
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            found = data.get("format") if isinstance(data, dict) else None
            raise ProfileFormatError(
                f"no profile of format {FORMAT}{f' (it says {found!r})' if found is not None else ''}"
            )
        table: dict[str, Any] = data
        try:
            chains = tuple(
                CallChain(
                    tuple(FunctionName(str(name), str(module)) for name, module in one["functions"]),
                    *(_count(one[key]) for key in ("calls", "blocks", "instructions", "stack")),
                )
                for one in table["chains"]
            )
            lines = tuple(
                LineCost(
                    str(one["module"]),
                    str(one["file"]),
                    *(_count(one[key]) for key in ("line", "count", "instructions")),
                )
                for one in table["lines"]
            )
            if not all(chain.functions for chain in chains):
                raise ValueError("a chain without functions")
            resources = ResourceCosts.of_plain(table)
            return cls(str(table["kernel"]), chains, lines, bool(table["whole"]), table["ended_by"], label, resources)
        except (KeyError, TypeError, ValueError) as error:
            raise ProfileFormatError(f"a damaged profile: {error!r}") from None


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value
