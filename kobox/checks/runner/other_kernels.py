"""Other kernels: whether they would load the module too, or, where there is its source, whether it builds for them.

    a .ko     what load_module() of each would say is known from its exports (`kobox.explain`): one note for all. A file
              is built for one kernel, so refusals are expected: only kernels named by the user get a detailed note
    source    it is built for each, aside, and what was built is looked at in the same way: a note for each that fails

Nothing is booted for it.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kobox.checks.report.finding import Finding, Severity
from kobox.errors import BuildError, KoboxError
from kobox.ko.modulefile import ModuleFile

if TYPE_CHECKING:
    from kobox.explain.explanation import Explanation, Fact
    from kobox.images.store import KernelImage

_KIND = "refused-elsewhere"
_NAMED = 3  # symbols of a kind that are named
_SHORT = {"vermagic": "another version magic", "module-layout": "another struct module"}
_OF_SYMBOLS = {"unknown-symbol": "it lacks", "crc": "other CRCs of", "namespace": "a namespace not imported for"}
_SAYS_WHY = re.compile(r"\berror: |^ERROR: modpost: ")


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What came of it: `findings`, the kernels that were asked, those of them that refuse the file as it is, and
    sentences about those that could not be asked."""

    findings: tuple[Finding, ...] = ()
    asked: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()


def newest_of_each_series(kernels: Sequence[tuple[str, str]], checked: Sequence[str]) -> tuple[str, ...]:
    """Of kernels, given as (name, release), the newest of each series (6.1, 6.12), but of those that `checked` releases
    are of: within a series, what a module is built against hardly changes."""
    done = {_series(release) for release in checked}
    newest: dict[tuple[int, ...], tuple[str, str]] = {}
    for name, release in kernels:
        series = _series(release)
        if series not in done and _numbers(release) >= _numbers(newest.get(series, ("", ""))[1]):
            newest[series] = name, release
    return tuple(name for name, _ in newest.values())


def _numbers(release: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", release))


def _series(release: str) -> tuple[int, ...]:
    return _numbers(release)[:2]


def look_elsewhere(
    module: Path,
    needs: Sequence[Path],
    names: Sequence[str],
    source: Path | None = None,
    builds: Path | None = None,
    *,
    news: bool = True,
) -> Elsewhere:
    """Ask the kernels of these names (in the cache) about a module file; `needs` are loaded before it. With the
    `source` that it was built from, it is built for each; `builds` is where build directories are kept. Without `news`
    there is no finding when kernels refuse the file as it is."""
    from kobox.images.store import Store

    store, kernels, unchecked = Store(), [], []
    for name in names:
        try:
            kernels.append(store.get(name))
        except KoboxError as error:
            unchecked.append(f"kernel {name}: {error.message}")
    refused: dict[str, str] = {}
    if source is None:
        refused, missed = _of_file(module, needs, kernels)
        findings = [_refused(refused)] if refused and news else []
    else:
        findings, missed = _of_source(module, needs, kernels, source, builds)
    asked = tuple(kernel.name for kernel in kernels)
    return Elsewhere(tuple(findings), asked, tuple(refused), (*unchecked, *missed))


def _of_file(
    module: Path, needs: Sequence[Path], kernels: Sequence[KernelImage]
) -> tuple[dict[str, str], Sequence[str]]:
    """The kernels that refuse it, and why."""
    refused: dict[str, str] = {}
    unchecked = []
    for kernel in kernels:
        try:
            told = _explained(module, needs, kernel)
        except KoboxError as error:
            unchecked.append(f"kernel {kernel.name}: {error.message}")
            continue
        if told.decisive is not None:
            refused[kernel.name] = f"{kernel.name} with {told.decisive.errno} ({_reasons(told)})"
    return refused, unchecked


def _refused(refused: dict[str, str]) -> Finding:
    message = f"this file is refused by {', '.join(refused.values())}"
    advice = "Build it for each kernel that it is meant for; `kobox check` of its source says where that does not work."
    return Finding(_KIND, Severity.NOTE, message, advice=advice)


def _of_source(
    module: Path, needs: Sequence[Path], kernels: Sequence[KernelImage], source: Path, builds: Path | None
) -> tuple[list[Finding], Sequence[str]]:
    """A note about each kernel that it does not build for, or that refuses what was built for it."""
    from kobox.kbuild.build import build_each

    able = [kernel for kernel in kernels if kernel.headers is not None]
    unchecked = [f"kernel {kernel.name}: it has no headers to build for it" for kernel in kernels if kernel not in able]
    findings = []
    with tempfile.TemporaryDirectory(prefix="kobox-elsewhere-") as room:
        for kernel, built in build_each(source, able, output=Path(room), builds=builds):
            if isinstance(built, BuildError):
                findings.append(_not_built(built, kernel))
                continue
            made = {path.name: path for path in built}
            if module.name not in made:
                unchecked.append(f"kernel {kernel.name}: there the source makes no {module.name}")
                continue
            try:
                told = _explained(made[module.name], [made.get(path.name, path) for path in needs], kernel)
            except KoboxError as error:
                unchecked.append(f"kernel {kernel.name}: {error.message}")
                continue
            if (fact := told.decisive) is not None:
                message = f"{kernel.name} refuses what is built for it with {fact.errno} ({_reasons(told)})"
                findings.append(Finding(_KIND, Severity.NOTE, message, advice=fact.advice))
    return findings, unchecked


def _not_built(error: BuildError, kernel: KernelImage) -> Finding:
    lines = [line.strip() for line in error.output.splitlines() if _SAYS_WHY.search(line)]
    own = [line for line in lines if not line.startswith(str(kernel.directory))]  # and no line of its headers
    said = next(iter(own or lines), error.message)
    advice = error.hint or "The kernel's interface is another one there: port the source to it."
    return Finding(_KIND, Severity.NOTE, f"it does not build for {kernel.name}: {said}", advice=advice)


def _explained(module: Path, needs: Sequence[Path], kernel: KernelImage) -> Explanation:
    """What a kernel would make of a file. A signature counts for nothing: another kernel's key is never its own."""
    from kobox.explain.explanation import Conditions
    from kobox.explain.load_rules import explain
    from kobox.ko.signature import strip

    content, _, _ = strip(ModuleFile(module).content, path=str(module))
    beside = tuple(ModuleFile(path) for path in needs)
    return explain(content, kernel, Conditions(beside=beside), path=str(module))


def _reasons(told: Explanation) -> str:
    """Why a kernel refuses it: what decides, then the symbols that are not there, or not as they were."""
    refusals = [fact for fact in told.facts if fact.errno]
    by_rule: dict[str, list[Fact]] = {}
    for fact in refusals:
        by_rule.setdefault(fact.rule, []).append(fact)
    parts = [_SHORT.get(rule) or facts[0].text for rule, facts in by_rule.items() if rule not in _OF_SYMBOLS]
    for rule, words in _OF_SYMBOLS.items():
        if found := by_rule.get(rule):
            names = [fact.text.split(" ", 1)[0] for fact in found]
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            parts.append(f"{words} {', '.join(names[:_NAMED])}{more}")
    return "; ".join(parts)
