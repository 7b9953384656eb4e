"""`kobox ci run`: build, load and check the modules of a directory on several kernels, and write what CI systems read.

    DIR/summary.md     the table kernels x (builds, loads, clean)
    DIR/junit.xml      a test case for each of them
    DIR/KERNEL/        result.json, build.txt, and for each module run.txt, check.json, SARIF, lcov

Each step is a command of its own (`kobox build`, `run`, `check`), behind its own wall, so one that dies harms no other.
"""

from __future__ import annotations

import contextlib
import json
import os
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from kobox.atomic_file import write_file
from kobox.errors import KoboxError
from kobox.images.kernel_image import KernelImage, Progress
from kobox.images.store import Store
from kobox.json_text import parse_json
from kobox.matrix.commands import CommandRunner, needed_files

_FORMAT = 1
_STEPS = ("builds", "loads", "clean")
OK, FAILED, SKIPPED = "ok", "failed", "skipped"
_LONGEST = 20_000  # characters of what a step printed, in JUnit


@dataclass(frozen=True, slots=True)
class CiStep:
    """One step for one module on one kernel: `step` is builds, loads or clean; `outcome` ok, failed or skipped; `text`
    is what the command printed; `seconds` of wall time."""

    kernel: str
    module: str
    step: str
    outcome: str
    text: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class CiOptions:
    """What a run does. `seconds`: time for each check; `fail_on`: the least severity that fails it; `checks`: whether
    modules are checked at all; `baseline`: a file of findings that are known."""

    seconds: float = 60.0
    fail_on: str = "error"
    checks: bool = True
    baseline: Path | None = None


Told = Callable[[CiStep], None]


def kernel_of(store: Store, name: str, progress: Progress | None = None) -> KernelImage:
    """A kernel by its name in the cache, or by a source of `kobox kernel add`, which is fetched if need be."""
    if name.startswith(("debian", "host")):
        return store.add(name, progress=progress)
    return store.get(name)


def run_ci(source: Path, kernels: Sequence[KernelImage], output: Path, options: CiOptions, told: Told) -> list[CiStep]:
    """All steps on all kernels; `told` is called after each. Raises `OSError` where results cannot be written."""
    steps: list[CiStep] = []
    runner = CommandRunner()
    for kernel in kernels:
        place = output / kernel.name
        place.mkdir(parents=True, exist_ok=True)
        with runner.stopped_by_errors():
            for step in _on_one_kernel(runner, source, kernel.name, place, options):
                steps.append(step)
                told(step)
        mine = [asdict(step) for step in steps if step.kernel == kernel.name]
        write_file(place / "result.json", json.dumps({"format": _FORMAT, "steps": mine}, indent=2).encode())
    write_file(output / "junit.xml", junit(steps))
    write_file(output / "summary.md", summary(steps).encode())
    return steps


def _on_one_kernel(
    runner: CommandRunner, source: Path, kernel: str, place: Path, options: CiOptions
) -> Iterable[CiStep]:
    built = runner.run("build", "--json", "-k", kernel, "-o", str(place / "modules"), str(source))
    write_file(place / "build.txt", (built.stdout + built.stderr).encode())
    modules = sorted((place / "modules").glob("*.ko")) if built.returncode == 0 else []
    if not modules:
        yield CiStep(kernel, source.resolve().name, "builds", FAILED, built.stderr + built.stdout, built.seconds)
        for step in _STEPS[1:]:
            yield CiStep(kernel, source.resolve().name, step, SKIPPED)
        return
    for module in modules:
        name = module.stem
        yield CiStep(kernel, name, "builds", OK, "", built.seconds)
        ran = runner.run("run", "-k", kernel, *map(str, needed_files(module, modules)), str(module))
        write_file(place / f"{name}.run.txt", (ran.stdout + ran.stderr).encode())
        yield CiStep(kernel, name, "loads", FAILED if ran.returncode else OK, ran.stdout + ran.stderr, ran.seconds)
        if options.checks:
            yield _checked(runner, module, kernel, source, place, options)


def _checked(runner: CommandRunner, module: Path, kernel: str, source: Path, place: Path, options: CiOptions) -> CiStep:
    name = module.stem
    words = ["--sarif", str(place / f"{name}.sarif"), "--lcov", str(place / f"{name}.lcov")]
    words += ["--time", str(options.seconds), "--fail-on", options.fail_on, "--no-elsewhere", "--json"]
    words += ["--source", str(source if source.is_dir() else source.parent)]
    if options.baseline is not None:
        words += ["--baseline", str(options.baseline)]
    done = runner.run("check", "-k", kernel, *words, str(source if source.is_file() else module))
    write_file(place / f"{name}.check.json", done.stdout.encode())
    _name_files_from_here(place / f"{name}.sarif", source)
    text = "".join(f"{line}\n" for line in _findings(done.stdout)) + done.stderr
    return CiStep(kernel, name, "clean", FAILED if done.returncode else OK, text, done.seconds)


def _name_files_from_here(sarif: Path, source: Path) -> None:
    """Have a SARIF log name source files relative to here, as code hosts want it, not relative to the source."""
    directory = source if source.is_dir() else source.parent

    def renamed(value: object) -> object:
        if isinstance(value, dict):
            uri = value.get("uri")
            if isinstance(uri, str) and not uri.startswith(("file:", "../")) and (directory / uri).is_file():
                value = {**value, "uri": os.path.relpath(directory / uri)}
            return {name: renamed(below) for name, below in value.items()}
        return [renamed(below) for below in value] if isinstance(value, list) else value

    with contextlib.suppress(FileNotFoundError, ValueError):
        write_file(sarif, json.dumps(renamed(parse_json(sarif.read_bytes())), indent=2).encode())


def _findings(text: str) -> list[str]:
    try:
        reports = parse_json(text)
        return [
            f"{one['severity']}: {one['kind']}: {one['message']} in {(one['where'] or {}).get('function', '?')}"
            f" ({(one['where'] or {}).get('file', '')}:{(one['where'] or {}).get('line', 0)})"
            for report in reports
            for one in report["findings"]
        ]
    except (ValueError, KeyError, TypeError):
        return []


# -- reports -------------------------------------------------------------------------------------------------------


def results_in(places: Iterable[Path]) -> list[CiStep]:
    """The steps in every result.json below some directories. Raises `KoboxError` for none, or a damaged one."""
    steps = []
    for path in sorted({file for place in places for file in place.rglob("result.json")}):
        try:
            read = parse_json(path.read_bytes())
            if read["format"] != _FORMAT:
                raise ValueError(f"format {read['format']!r}")
            steps += [_step_of(row) for row in read["steps"]]
        except (ValueError, KeyError, TypeError) as error:
            raise KoboxError(f"{path}: not a result of `kobox ci run` ({error})") from error
    if not steps:
        raise KoboxError("no result.json there", hint="Name directories that `kobox ci run -o DIR` has written.")
    return steps


def _step_of(row: Mapping[str, str | float]) -> CiStep:
    kernel, module, step, outcome, text = (str(row[name]) for name in ("kernel", "module", "step", "outcome", "text"))
    if step not in _STEPS or outcome not in (OK, FAILED, SKIPPED):
        raise ValueError(f"step {step!r} with outcome {outcome!r}")
    return CiStep(kernel, module, step, outcome, text, float(row["seconds"]))


def summary(steps: Sequence[CiStep]) -> str:
    """The table kernels x (builds, loads, clean) as Markdown, and under it what failed."""
    lines = ["## kobox", "", "| kernel | builds | loads | clean |", "|---|---|---|---|"]
    for kernel in dict.fromkeys(step.kernel for step in steps):
        cells = [_cell([one for one in steps if (one.kernel, one.step) == (kernel, step)]) for step in _STEPS]
        lines.append(f"| {kernel} | {' | '.join(cells)} |")
    for step in steps:
        if step.outcome == FAILED:
            text = step.text.strip()[-3000:].replace("```", "'''")
            lines += ["", f"<details><summary>{step.module} on {step.kernel}: {step.step} failed</summary>", ""]
            lines += ["```", text, "```", "", "</details>"]
    return "\n".join(lines) + "\n"


def _cell(steps: Sequence[CiStep]) -> str:
    failed = [step.module for step in steps if step.outcome == FAILED]
    if failed:
        return f"**failed**: {', '.join(failed)}"
    return "ok" if any(step.outcome == OK for step in steps) else "-"


def junit(steps: Sequence[CiStep]) -> bytes:
    """The steps as JUnit's XML, as Jenkins, GitLab and others read it: a suite for each kernel."""
    root = ET.Element("testsuites")
    for kernel in dict.fromkeys(step.kernel for step in steps):
        mine = [step for step in steps if step.kernel == kernel]
        suite = ET.SubElement(root, "testsuite", name=kernel, tests=str(len(mine)))
        suite.set("failures", str(sum(step.outcome == FAILED for step in mine)))
        suite.set("skipped", str(sum(step.outcome == SKIPPED for step in mine)))
        for step in mine:
            case = ET.SubElement(suite, "testcase", classname=f"{kernel}.{step.module}", name=step.step)
            case.set("time", f"{step.seconds:.3f}")
            if step.outcome == FAILED:
                failure = ET.SubElement(case, "failure", message=_last_line(step.text))
                failure.text = step.text[-_LONGEST:]
            elif step.outcome == SKIPPED:
                ET.SubElement(case, "skipped")
    ET.indent(root)
    return b"<?xml version='1.0' encoding='utf-8'?>\n" + ET.tostring(root, encoding="unicode").encode() + b"\n"


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else ""
