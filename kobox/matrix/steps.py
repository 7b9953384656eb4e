"""One cell's steps: the commands, and what their JSON says.

A stranger's module has had a hand in what a command prints: output that does not read as it should makes a failed step,
with that output as its log, and never an error of the matrix.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kobox.errors import BuildError, KoboxError
from kobox.images.kernel_image import KernelImage
from kobox.kbuild.build import BuildOptions, build
from kobox.kbuild.matrix import refused_interfaces
from kobox.matrix.cell import SKIPPED_STEP, CellStep, StepOutcome
from kobox.matrix.commands import CommandOutput, CommandRunner, printable_lines

_MOST_LOG = 64_000  # characters of a log that are kept, half from its beginning and half from its end
_MOST_LINE = 600
_MOST_REMEDY = 4000


@dataclass(frozen=True, slots=True)
class CheckWords:
    """How `kobox check` is called: `seconds` for each check, the least severity that fails it, a baseline, and what to
    do with the module between load and unload (`none`, `auto` or a file)."""

    seconds: float = 60.0
    fail_on: str = "error"
    baseline: str = ""
    exercise: str = "auto"

    def words(self) -> list[str]:
        """The options of the command."""
        words = [
            "--time",
            f"{self.seconds:g}",
            "--fail-on",
            self.fail_on,
            "--no-elsewhere",
            "--exercise",
            self.exercise,
        ]
        return [*words, "--jobs", "1", *(["--baseline", self.baseline] if self.baseline else [])]


@dataclass(frozen=True, slots=True)
class CostWords:
    """How the cost of a life is counted (`kobox profile`): `exercise` is a file that uses the module, "" for none.

    A cell is slower when it takes more than `percent` more instructions than the first kernel of its row.
    """

    exercise: str = ""
    percent: float = 25.0

    def words(self) -> list[str]:
        """The options of the command."""
        return ["--exercise", self.exercise] if self.exercise else []


@dataclass(frozen=True, slots=True)
class CellTask:
    """What is to be done for one cell once its module is there: a value of a few hundred bytes that any process can
    carry out. `files` are the modules to load, the wanted one last; `load_key`, `check_key` and `cost_key` are the
    addresses of the results, "" where a step is not wanted or is known already (`loaded` is its outcome then)."""

    kernel: str
    files: tuple[str, ...]
    parameters: str = ""
    run_words: tuple[str, ...] = ()
    check: CheckWords | None = None
    source: str = ""
    load_key: str = ""
    clean_key: str = ""
    check_key: str = ""
    cost: CostWords | None = None
    cost_key: str = ""


def build_step(
    kernel: KernelImage, source: Path, into: Path, options: BuildOptions, stopped: Callable[[], bool]
) -> CellStep:
    """Build a source for a kernel into a directory. Everything is compiled: a file that was compiled before would have
    no warnings. Once it is `stopped`, a build ends at its next line of output. Raises `OSError`."""

    def heard(line: str) -> None:
        if stopped():
            raise KoboxError("interrupted")

    began = time.monotonic()
    try:
        built = build(source, kernel, output=into, options=replace(options, fresh=True), on_output=heard)
    except BuildError as error:
        return _refused(error, time.monotonic() - began)
    except KoboxError as error:
        return CellStep(StepOutcome.FAILED, finding=_line(error.message), remedy=error.hint)
    log = _shortened(printable_lines(built.output))
    warnings = [line for line in log.splitlines() if "warning:" in line.lower()]
    remedy = "\n".join(built.hints)[:_MOST_REMEDY]
    if warnings:
        return CellStep(StepOutcome.WARNS, built.seconds, _line(warnings[0]), _place(warnings[0]), (), remedy, log)
    return CellStep(StepOutcome.OK, built.seconds, remedy=remedy, log=log)


def _refused(error: BuildError, seconds: float) -> CellStep:
    """A build that failed: the compiler's first error, the interfaces that this kernel refuses, and the remedy."""
    log = _shortened(printable_lines(error.output))
    found = _first_error(log) or error.message
    changes = tuple(refused_interfaces(error))
    remedy = error.hint[:_MOST_REMEDY]
    return CellStep(StepOutcome.FAILED, seconds, _line(found), _place(found), changes, remedy, log)


def run_cell(runner: CommandRunner, task: CellTask) -> list[CellStep]:
    """Carry out a task: the results of the steps that were wanted."""
    results = []
    loads_outcome = StepOutcome.OK
    if task.load_key:
        loads, clean = _load_steps(runner, task)
        loads_outcome = loads.outcome
        results += [replace(loads, key=task.load_key), replace(clean, key=task.clean_key)]
    if task.check is not None and task.check_key and loads_outcome is StepOutcome.OK:
        results.append(replace(_check_step(runner, task, task.check), key=task.check_key))
    if task.cost is not None and task.cost_key and loads_outcome is StepOutcome.OK:
        results.append(replace(_cost_step(runner, task, task.cost), key=task.cost_key))
    return results


def _cost_step(runner: CommandRunner, task: CellTask, cost: CostWords) -> CellStep:
    """How many instructions a life of the module takes: its own, and the kernel's for it."""
    words = ["--cpu-limit", "300", *cost.words(), *task.files, *task.parameters.split()]
    done = runner.run("profile", "--json", "-k", task.kernel, *words)
    try:
        profile = json.loads(done.stdout)
        instructions = profile["instructions"]
        lines = [f"{int(one['total']):>12,}  {one['name']}" for one in profile["functions"]]
        if not isinstance(instructions, int) or profile["whole"] is not True:
            raise ValueError("not a whole life")
    except (ValueError, KeyError, TypeError, RecursionError):
        return replace(_broken(done), outcome=StepOutcome.WARNS)
    log = _shortened(printable_lines("\n".join([f"{instructions:,} instructions", *lines])))
    return CellStep(StepOutcome.OK, done.seconds, log=log, instructions=instructions)


def _load_steps(runner: CommandRunner, task: CellTask) -> tuple[CellStep, CellStep]:
    """Load and unload: (whether it loads, whether the kernel had something to say)."""
    done = runner.run("run", "--json", "-k", task.kernel, *task.run_words, *task.files, *task.parameters.split())
    events = list(_events(done.stdout))
    log = _shortened(_story(events) + done.stderr)
    verdict = events[-1] if events and events[-1].get("kind") == "verdict" else None
    name = _module_name(task.files[-1])
    if verdict is None:
        return replace(_broken(done), log=log), SKIPPED_STEP
    loads = CellStep(StepOutcome.OK, done.seconds, log=log)
    if name not in map(str, _list(verdict.get("loaded"))):
        remedy = _why_refused(runner, task, events)
        finding = _first_of(events, ("failed", "report")) or str(verdict.get("text", ""))
        return replace(loads, outcome=StepOutcome.FAILED, finding=_line(finding), remedy=remedy), SKIPPED_STEP
    clean = CellStep(StepOutcome.OK, 0.0, log=log)
    if not verdict.get("ok"):
        finding, place, remedy = _complaint(events, verdict)
        clean = replace(clean, outcome=StepOutcome.FAILED, finding=finding, place=place, remedy=remedy)
    return loads, clean


def _complaint(events: Sequence[Mapping[str, object]], verdict: Mapping[str, object]) -> tuple[str, str, str]:
    """(finding, place, remedy) of the first thing that was wrong."""
    for event in events:
        if event.get("kind") in ("report", "left", "failed"):
            place = f"{event['file']}:{event['line']}" if event.get("file") else str(event.get("place") or "")
            finding = str(event.get("message") or event.get("text") or "")
            return _line(finding), _line(place), str(event.get("hint") or "")[:_MOST_REMEDY]
    return _line(str(verdict.get("text", ""))), "", ""


def _why_refused(runner: CommandRunner, task: CellTask, events: Sequence[Mapping[str, object]]) -> str:
    """What `kobox explain` says of a module that the kernel refused; else the hint of the run."""
    failed = next((event for event in events if event.get("kind") == "failed"), {})
    if failed.get("init") is None:
        done = runner.run("explain", "--json", "-k", task.kernel, task.files[-1])
        try:
            facts = [fact for fact in json.loads(done.stdout)["facts"] if fact["errno"]]
            return "\n".join(f"{fact['text']}. {fact['advice']}".strip() for fact in facts)[:_MOST_REMEDY]
        except (ValueError, KeyError, TypeError, RecursionError):
            pass
    return str(failed.get("hint") or "")[:_MOST_REMEDY]


def _check_step(runner: CommandRunner, task: CellTask, check: CheckWords) -> CellStep:
    """What `kobox check` finds in a module."""
    source = ["--source", task.source] if task.source else []
    words = [*check.words(), *source, task.files[-1], *task.parameters.split()]
    done = runner.run("check", "--json", "-k", task.kernel, *words)
    try:
        (report,) = json.loads(done.stdout)
        findings = [_finding(one) for one in report["findings"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        return _broken(done)
    log = _shortened("".join(f"{text} ({place})\n" for text, place in findings) + done.stderr)
    text, place = findings[0] if findings else ("", "")
    outcome = StepOutcome.FAILED if done.returncode else StepOutcome.OK
    return CellStep(outcome, done.seconds, _line(text), _line(place), log=log)


def _finding(one: Mapping[str, object]) -> tuple[str, str]:
    """(what, where) of one finding in a report of `kobox check`."""
    where = one["where"] if isinstance(one["where"], dict) else {}
    place = f"{where.get('file')}:{where.get('line')}" if where.get("file") else str(where.get("function", ""))
    return f"{one['severity']}: {one['kind']}: {one['message']}", place


# -- reading what commands print ------------------------------------------------------------------------------------


def _events(text: str) -> Iterator[Mapping[str, object]]:
    for line in text.splitlines():
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict):
            yield event


def _story(events: Sequence[Mapping[str, object]]) -> str:
    """The events of a run as lines: the kernel's with their time."""
    lines = []
    for event in events:
        time, text = event.get("time"), str(event.get("text", ""))
        is_log = event.get("kind") == "log" and isinstance(time, (int, float))
        lines.append(f"[{time:12.6f}] {text}" if is_log else text)
    return "".join(f"{line}\n" for line in lines)


def _first_of(events: Sequence[Mapping[str, object]], kinds: Sequence[str]) -> str:
    for kind in kinds:
        for event in events:
            if event.get("kind") == kind:
                return str(event.get("text", ""))
    return ""


def _broken(done: CommandOutput) -> CellStep:
    """A command that ended without an answer."""
    said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    how = f"ended by signal {-done.returncode}" if done.returncode < 0 else f"ended with status {done.returncode}"
    log = _shortened(done.stdout + done.stderr)
    return CellStep(StepOutcome.FAILED, done.seconds, _line(said[0] if said else how), log=log)


def _first_error(log: str) -> str:
    """The line of a build's output that says the most: the compiler's or modpost's before make's."""
    lines = log.splitlines()
    for mark in ("error: ", "ERROR: ", "*** "):
        found = next((line for line in lines if mark in line), "")
        if found:
            return found
    return ""


def _place(line: str) -> str:
    """`file:line` at the beginning of a compiler's line."""
    head = line.split(": ", 1)[0].split(":")
    return ":".join(head[:2]) if len(head) >= 2 and head[1].isdigit() else ""


def _module_name(path: str) -> str:
    return Path(path).name.partition(".ko")[0].replace("-", "_")


def _line(text: str) -> str:
    return text.strip().partition("\n")[0][:_MOST_LINE]


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _shortened(text: str) -> str:
    """A log, without its middle where it is too long."""
    if len(text) <= _MOST_LOG:
        return text
    half = _MOST_LOG // 2
    return f"{text[:half]}\n… {len(text) - 2 * half} characters left out …\n{text[-half:]}"
