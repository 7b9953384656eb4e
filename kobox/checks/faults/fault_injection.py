"""Fault injection: make a function fail that the module calls, once, and see what the module does about it.

What can fail, and how, stands in faults.toml. Where a module calls it is known from the module's relocations
(`callsites.py`): the call instruction itself is watched, so that a fault costs nothing in the rest of the kernel, and
only this module's calls fail. Of a call through a pointer it is asked there which function that is.

    learn:    every place is watched; each is noted the first time that it is reached, with the calls of the module that
    led there inject:   one place (or two) is watched; the call is left out, and the register has what the function
    returns on failure

A place has a name that is the same in every run, and on every machine: the functions of the module that were under way,
the outermost first, and what fails in which way.

    hello_init+0x1f:__kmalloc=NULL        hello_open+0x44/helper+0x1f:__kmalloc=NULL        two: joined by a comma
"""

from __future__ import annotations

import errno
import re
import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from kobox.arch.registers import CallingConvention
from kobox.box.inspect.probes import Hit, Probe
from kobox.checks.module.callsites import CallSite, CodeMap, LocatedCode, call_sites
from kobox.checks.report.finding import Chain
from kobox.checks.runner.session import Check, Examination
from kobox.errors import KoboxError
from kobox.ko.modulefile import ModuleFile

_RESULT = "result"
_ARGUMENT = re.compile(r"argument ([1-6])")
_REALLOCATES = ("krealloc", "kvrealloc", "devm_krealloc")
_GROWN = ".grown"
_NOFAIL = 0x8000  # ___GFP_NOFAIL where BTF does not tell (include/linux/gfp_types.h)


Parameters = Callable[[str], Sequence[str]]
"""The names of a function's parameters in a kernel; () where it has no such function."""


class FaultTableError(KoboxError, ValueError):
    """A table of functions that can fail says something that makes no sense."""


@dataclass(frozen=True, slots=True)
class Failure:
    """How a function fails: `text` as the table has it, or "inside FUNCTION" values. `registers` are set to these
    values: "result", or "argument 3" by its number; one of these as a value is that register's content at the call."""

    text: str
    registers: tuple[tuple[str, int | str], ...]
    inside: str = ""

    @property
    def value(self) -> int:
        """What the caller gets, where that is a fixed number; else 0."""
        first = self.registers[0][1]
        return first if isinstance(first, int) else 0

    @property
    def errno(self) -> int:
        """The error that its caller should answer with: what the function says, or ENOMEM for one that gives NULL."""
        if self.text.startswith("argument"):
            return errno.EFAULT
        found = re.search(r"-(E[A-Z0-9]+)", self.text)
        return getattr(errno, found[1], 0) if found else errno.ENOMEM

    @property
    def name(self) -> str:
        """Short, without blanks or parentheses, for IDs."""
        if self.text.startswith("argument"):
            return "uncopied"
        found = re.search(r"-E\w+", self.text)
        return found.group() if found else self.text


class FaultTable:
    """What can fail, and how: the built-in table, and users' own over it."""

    def __init__(self, *paths: Path) -> None:
        self._exact: dict[str, Failure] = {}
        self._patterns: list[tuple[str, Failure]] = []
        self._conditional: dict[str, list[tuple[str, Failure]]] = {}
        for path in (Path(__file__).with_name("faults.toml"), *paths):
            self._read(path)

    def failure(self, function: str, parameters: Parameters | None = None) -> Failure | None:
        """How a function fails; None for one that cannot, as far as is known. `parameters(function)` gives the names of
        its parameters in the kernel that is meant, for those whose failure has changed together with them."""
        for parameter, failure in self._conditional.get(function, ()):
            if parameters is not None and parameter in parameters(function):
                return failure
        found = self._exact.get(function)
        if found is None:
            found = next((failure for pattern, failure in self._patterns if fnmatchcase(function, pattern)), None)
        return found if found is None or found.registers else None

    def _read(self, path: Path) -> None:
        try:
            rows = tomllib.loads(path.read_text())["failure"]
            patterns = []
            for row in rows:
                failure = parse_failure(row["value"])
                for name in row.get("functions", ()):
                    if parameter := row.get("parameter"):
                        self._conditional.setdefault(name, []).append((parameter, failure))
                    elif "*" in name or "?" in name:
                        patterns.append((name, failure))
                    else:
                        self._exact[name] = failure
                for name, inner in row.get("inside", ()):
                    self._exact[name] = Failure(failure.text, failure.registers, inner)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            what = f"lacks {error}" if isinstance(error, KeyError) else str(error)
            raise FaultTableError(
                f"{path}: {what}",
                hint='A table holds [[failure]] with `value = "-ENOMEM"` and `functions = ["name", …]`.',
            ) from error
        self._patterns[:0] = patterns


def parse_failure(text: str) -> Failure:
    """Read one value of the table: "-ENOMEM", "ERR_PTR(-ENOMEM)", "argument 3", "argument 4 = -EFAULT", "never".
    Raises `ValueError`."""
    if text == "never":
        return Failure(text, ())
    registers: list[tuple[str, int | str]] = []
    for part in text.split(","):
        register, equals, value = part.rpartition("=")
        register = register.strip() if equals else _RESULT
        if register != _RESULT and not _ARGUMENT.fullmatch(register):
            raise ValueError(f"{text!r}: neither `result` nor `argument N`: {register!r}")
        registers.append((register, _number(value.strip())))
    return Failure(text, tuple(registers))


def _register(calls: CallingConvention, place: str) -> str:
    """The register that "result" or "argument 3" means."""
    found = _ARGUMENT.fullmatch(place)
    return calls.argument_registers[int(found[1]) - 1] if found else calls.result_register


def _number(text: str) -> int | str:
    plain = {"NULL": 0, "false": 0, "true": 1}
    if text in plain:
        return plain[text]
    if _ARGUMENT.fullmatch(text):
        return text
    if found := re.fullmatch(r"XA_ERROR\((.+)\)", text):  # include/linux/xarray.h: xa_mk_internal()
        return (int(_number(found[1])) << 2 | 2) & (1 << 64) - 1
    if found := re.fullmatch(r"ERR_PTR\((.+)\)", text):
        return _number(found[1])
    if found := re.fullmatch(r"-(E[A-Z0-9]+)", text):
        known = {"ERESTARTSYS": 512, "EPROBE_DEFER": 517, "ENOTSUPP": 524}
        number = known.get(found[1]) or getattr(errno, found[1], None)
        if number is None:
            raise ValueError(f"{text!r}: no such error")
        return -number & (1 << 64) - 1
    return int(text, 0) & (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Fault:
    """One call to fail: `path` are the places in the module, the outermost first, the last of them being the call
    itself."""

    path: tuple[str, ...]
    function: str
    how: str

    def __str__(self) -> str:
        return f"{'/'.join(self.path)}:{self.function}={self.how}"

    @property
    def site(self) -> str:
        """The place of the call."""
        return self.path[-1]


Faults = tuple[Fault, ...]


def fault_id(faults: Faults) -> str:
    """The ID of a run: "" for one in which nothing fails."""
    return ",".join(map(str, faults))


def parse_id(text: str) -> Faults:
    """Undo `fault_id`. Raises `KoboxError`."""
    faults = []
    for part in filter(None, text.split(",")):
        found = re.fullmatch(r"([^:]+\+0x[0-9a-f]+):([^=]+)=(.+)", part)
        if found is None:
            raise KoboxError(
                f"{part!r} is no ID of a fault",
                hint="IDs look like hello_init+0x1f:__kmalloc=NULL; the report has them.",
            )
        faults.append(Fault(tuple(found[1].split("/")), found[2], found[3]))
    return tuple(faults)


class FaultSites:
    """Where one module file calls what can fail. Made once for a file, used by every examination of it."""

    def __init__(self, file: ModuleFile, table: FaultTable, parameters: Parameters | None = None) -> None:
        self.code = CodeMap(file.elf)
        self._table, self._parameters = table, parameters
        sites = call_sites(file.elf)
        known = ((site, table.failure(site.function, parameters)) for site in sites)
        self.sites: list[tuple[CallSite, Failure]] = [(site, failure) for site, failure in known if failure is not None]
        self.pointers = [site for site in sites if site.register]
        """Calls through pointers: any of them may call what can fail."""

    def __len__(self) -> int:
        return len(self.sites) + len(self.pointers)

    def failure(self, fault: Fault) -> Failure | None:
        """How the call that a fault is about fails."""
        wanted = fault.site, fault.function
        found = next((failure for site, failure in self.sites if (site.place, site.function) == wanted), None)
        if found is None and any(site.place == fault.site for site in self.pointers):
            return self.failure_of(fault.function)
        return found

    def failure_of(self, function: str) -> Failure | None:
        """How a function of the kernel fails that is called through a pointer."""
        return self._table.failure(function, self._parameters)


class FaultInjection(Check):
    """Learns which of a module's calls could fail, and lets `faults` do so. `reached` are the places in the order in
    which they were reached; `injected` those of `faults` whose turn came; `after` the places reached after the last of
    them."""

    name = "faults"
    limit = 3000  # call sites that are watched at most: the machine has 4,096 probes
    patience = 64  # calls through one pointer that cannot fail before it is watched no more

    def __init__(self, sites: FaultSites, faults: Faults = (), *, learn: bool = True) -> None:
        self.sites = sites
        self.faults = faults
        self.learn = learn
        self.reached: dict[Fault, str] = {}
        self.injected: list[Fault] = []
        self.after: list[Fault] = []
        self.chain: Chain = ()
        self.on_reached: Callable[[Fault], None] | None = None
        self._set: list[Probe] = []
        self._examination: Examination | None = None
        self._inner: Any = None
        self._code: LocatedCode | None = None
        self._behind: dict[int, tuple[str, Failure | None]] = {}  # what a pointer to a function means

    def linked(self, examination: Examination) -> None:
        self._examination = examination
        assert examination.placement is not None
        self._code = self.sites.code.located(examination.placement)
        wanted = {(fault.site, fault.function) for fault in self.faults}
        chosen = [row for row in self.sites.sites if self.learn or (row[0].place, row[0].function) in wanted]
        for site, failure in chosen[: self.limit]:
            self._watch(self._code.starts[site.section] + site.offset, site, failure)
        places = {place for place, _ in wanted}
        pointers = [site for site in self.sites.pointers if self.learn or site.place in places]
        for site in pointers[: max(0, self.limit - len(chosen))]:
            self._watch_pointer(self._code.starts[site.section] + site.offset, site)

    def leaving(self, examination: Examination) -> None:
        self._unset()

    def detach(self, examination: Examination) -> None:
        self._unset()

    def _unset(self) -> None:
        for probe in self._set:
            probe.remove()
        self._set.clear()
        if self._inner is not None:
            self._inner.remove()
            self._inner = None

    def _watch(self, address: int, site: CallSite, failure: Failure) -> None:
        self._set_probe(address, lambda: self._reached(address, site, failure))

    def _set_probe(self, address: int, reached: Callable[[], None]) -> Probe:
        assert self._examination is not None
        self._set.append(self._examination.box.probe(address, lambda hit: reached()))
        return self._set[-1]

    def _watch_pointer(self, address: int, site: CallSite) -> None:
        """A call through a pointer: what it calls is known when it is reached. Most never call what can fail."""
        assert self._examination is not None
        machine, missed = self._examination.box.machine, 0

        def reached() -> None:
            nonlocal missed
            function, failure = self._function_at(machine.register(site.register))
            if failure is not None:
                missed = 0
                self._reached(address, replace(site, function=function), failure)
                return
            missed += 1
            if missed == self.patience and probe in self._set:
                self._set.remove(probe)
                probe.remove()

        probe = self._set_probe(address, reached)

    def _function_at(self, address: int) -> tuple[str, Failure | None]:
        """The function of the kernel that begins at an address, and how it fails."""
        if address not in self._behind:
            assert self._examination is not None
            symbol = self._examination.box.inspect.symbols.lookup(address)
            name = symbol.name if symbol is not None and symbol.address == address and not symbol.module else ""
            self._behind[address] = name, self.sites.failure_of(name) if name else None
        return self._behind[address]

    def _reached(self, address: int, site: CallSite, failure: Failure) -> None:
        if self._cannot_fail(site, failure):
            return
        assert self._code is not None
        assert self._examination is not None
        path = (*self._code.callers(self._examination.box.inspect.unwinder), site.place)
        fault = Fault(path, site.function, failure.name + self._second(site))
        if fault not in self.reached:
            if self.on_reached is not None:
                self.on_reached(fault)
            self.reached[fault] = str(self._examination.stage)
            if self.injected and len(self.injected) == len(self.faults):
                self.after.append(fault)
        if fault in self.faults and fault not in self.injected:
            self.injected.append(fault)
            self._fail(address, site, failure)

    def _fail(self, address: int, site: CallSite, failure: Failure) -> None:
        assert self._examination is not None
        machine = self._examination.box.machine
        self.chain = self._examination.chain()
        for told in self._examination.told_of_failures:
            told(failure.errno)
        if failure.inside:
            self._fail_inside(failure)
            return
        calls = machine.arch.calls
        values = [
            (_register(calls, place), machine.register(_register(calls, value)) if isinstance(value, str) else value)
            for place, value in failure.registers
        ]
        for register, value in values:
            machine.set_register(register, value)
        if site.tail:
            machine.return_from_function(machine.result)
        else:
            machine.pc = address + site.length

    def _fail_inside(self, failure: Failure) -> None:
        assert self._examination is not None

        def inner(hit: Hit) -> None:
            hit.skip(failure.value)
            self._inner.remove()

        self._inner = self._examination.box.probe(failure.inside, inner)

    def _second(self, site: CallSite) -> str:
        """What tells a call that may lose something from the first one: krealloc() of memory that is there already."""
        assert self._examination is not None
        grows = site.function.startswith(_REALLOCATES) and self._examination.box.machine.argument(0)
        return _GROWN if grows else ""

    def _cannot_fail(self, site: CallSite, failure: Failure) -> bool:
        """Whether the call asks for memory with __GFP_NOFAIL."""
        if failure.value != 0 or failure.inside or isinstance(failure.registers[0][1], str):
            return False
        assert self._examination is not None
        number = self._gfp_argument(site.function)
        if number is None:
            return False
        return bool(self._examination.box.machine.argument(number) & _NOFAIL)

    def _gfp_argument(self, function: str) -> int | None:
        """Which argument of a function says how memory may be got; None when it has none."""
        assert self._examination is not None
        known = self._examination.box.inspect.symbols.btf.parameters(function) or ()
        return next((n for n, parameter in enumerate(known[:6]) if parameter.type == "gfp_t"), None)


def pairs(first: Sequence[Fault], after: Iterable[tuple[Fault, Sequence[Fault]]]) -> list[Faults]:
    """Two faults a run: each of `first`, then each place that was reached after it had failed."""
    return [(one, other) for one, others in after for other in others if one in first and other != one]
