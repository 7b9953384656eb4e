"""`kobox check`: find what is wrong in a module, and say where, why and what to do.

Exit status: 0 nothing of the severity of `--fail-on` was found; 1 something was; 2 it could not be checked; 130
interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from kobox.atomic_file import write_file
from kobox.cli.colour import coloured
from kobox.cli.json_output import to_json
from kobox.cli.parser import CommandParser
from kobox.cli.terminal_output import paint
from kobox.cli.worker import raise_wall
from kobox.errors import KoboxError
from kobox.ko.demangle import demangle_text
from kobox.printable import one_line

if TYPE_CHECKING:
    from kobox.apps.life_record import LifeRecord
    from kobox.checks.fuzz.corpus import Corpus
    from kobox.checks.races.own_races import OwnRace
    from kobox.checks.races.race_calls import DataRace
    from kobox.checks.report.known import Signature
    from kobox.checks.runner.minimise import Crash
    from kobox.checks.runner.outcome import CheckReport
    from kobox.checks.runner.plan import CheckPlan
    from kobox.cli.progress import ProgressLine
    from kobox.images.store import KernelImage, Store
    from kobox.isolation.file_writer import FileWriter
    from kobox.ko.modulefile import ModuleFile

_COLOURS = {"error": "31;1", "warning": "33;1", "note": "36"}


def main(argv: list[str], prog: str) -> int:
    """Entry point of the subcommand."""
    arguments = _parser(prog).parse_intermixed_args(argv)
    try:
        from kobox.checks.report.known import read_baseline

        baseline = read_baseline(arguments.baseline) if arguments.baseline is not None else frozenset()
        writer = _file_writer(arguments)
        from kobox.checks.fuzz.corpus import read_corpus

        corpus = read_corpus(arguments.corpus) if arguments.corpus is not None else {}
        reports = _check(arguments, prog, writer, baseline, corpus)
        write = writer.write if writer is not None else partial(_write, arguments.crashes)
        _write_files(arguments, reports, write)
        _keep_corpus(arguments, reports, corpus, write)
    except KoboxError as error:
        print(f"{prog}: error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(
            f"{prog}: error: {f'{error.filename}: ' if error.filename else ''}{error.strerror or error}",
            file=sys.stderr,
        )
        return 2
    if arguments.json:
        from kobox.checks.report.text import plain_report

        again = _again(arguments, prog)
        print(to_json("check", [plain_report(report, again) for report in reports]))
    return _status(arguments, reports)


def _status(arguments: argparse.Namespace, reports: Sequence[CheckReport]) -> int:
    from kobox.checks.report.finding import Severity

    limit = Severity(arguments.fail_on).rank
    if any(finding.severity.rank <= limit for report in reports for finding in report.findings):
        return 1
    return 0 if reports and all(report.lives or arguments.replay or report.known for report in reports) else 2


def _check(
    arguments: argparse.Namespace,
    prog: str,
    writer: FileWriter | None,
    baseline: frozenset[Signature],
    corpus: Corpus,
) -> list[CheckReport]:
    from kobox.apps.run_sources import RunSource, module_files, module_paths
    from kobox.checks.runner.check import check
    from kobox.cli.progress import ProgressLine
    from kobox.images.store import Store

    store, reports, source = Store(), [], RunSource(Path(arguments.source))
    progress = ProgressLine(quiet=arguments.json or arguments.quiet)
    if not arguments.kernel and not store.list():
        print(f"{prog}: no kernel in {store.root} yet: adding Debian's newest cloud kernel", file=sys.stderr)
    try:
        named = arguments.kernel or [store.fitting([Path(arguments.source)])]
        images = [store.ensure(name, progress) for name in named]
        files = [module_paths([source], image, partial(_say_building, image.name)) for image in images]
        others = [_others(arguments, store, image) for image in images]
        if writer is not None:
            _raise_wall(arguments, store, images, files)
    finally:
        progress.close()
    for image, paths, elsewhere in zip(images, files, others, strict=True):
        modules, _ = module_files([source], paths)
        for number, module in enumerate(modules):
            plan = _plan(arguments, image, module, modules[:number], elsewhere)
            plan = replace(plan, corpus=corpus.get(module.name, ()))
            try:
                reports.append(check(plan, _Counter(progress)))
                _take_out_known(reports[-1], baseline, arguments.source_directory)
            except KoboxError as error:
                if len(modules) == 1:
                    raise
                reports.append(_not_checked(plan, module, error))  # the other modules are checked all the same
            finally:
                progress.close()
            if not arguments.json:
                _tell(arguments, reports[-1], prog)
    return reports


def _take_out_known(report: CheckReport, baseline: frozenset[Signature], source: Path | None) -> None:
    """Set aside the findings of the baseline, and those that a comment in the source allows."""
    from kobox.checks.report.known import split_known

    source = source or Path(report.plan.source or report.plan.module)
    place = source if source.is_dir() else source.parent
    report.findings, report.known = split_known(report.module, report.findings, baseline, place)


def _not_checked(plan: CheckPlan, module: ModuleFile, error: KoboxError) -> CheckReport:
    from kobox.checks.runner.outcome import CheckReport

    return CheckReport(plan, module.name, ended=str(error).split("\n", 1)[0])


def _file_writer(arguments: argparse.Namespace) -> FileWriter | None:
    """Who writes the reports when this process is behind the wall.

    None when it is not: with source, which was built with the user's rights, or Python of the user's own.
    """
    from kobox.isolation.file_writer import FileWriter
    from kobox.isolation.wall import in_worker

    trusted = ".ko" not in Path(arguments.source).name or arguments.exercise not in ("none", "auto")
    if trusted or not in_worker():
        return None
    named = (arguments.sarif, arguments.html, arguments.lcov, arguments.write_baseline, arguments.corpus)
    files = [path for path in named if path is not None]
    return FileWriter(files, arguments.crashes, r"\w{1,245}\.(py|kbx)")


def _raise_wall(
    arguments: argparse.Namespace,
    store: Store,
    images: Sequence[KernelImage],
    files: Sequence[Sequence[Sequence[Path]]],
) -> None:
    """Raise the wall round this process, from which the workers come: what the module is parsed by."""
    import kobox
    from kobox.checks.races.data_races import CMDLINE as RACE_CMDLINE
    from kobox.checks.races.data_races import CPUS
    from kobox.checks.races.races import CMDLINE
    from kobox.checks.runner.plan import CheckPlan
    from kobox.machine.boards import machine_class

    memory = CheckPlan("").memory
    for image in images:  # behind the wall no snapshot can be kept
        for cmdline in ("", CMDLINE) if arguments.preempt or arguments.replay.startswith("race:") else ("",):
            kobox.boot(image, memory=memory, cmdline=cmdline).close()
        if arguments.races and machine_class(image.arch).most_cpus >= CPUS:
            kobox.boot(image, memory=memory, cpus=CPUS, cmdline=RACE_CMDLINE).close()
    own = [path for paths in files for source in paths for path in source] + arguments.fault_table
    places_named = [arguments.source_directory] if arguments.source_directory is not None else []
    places = [place for image in store.list() for place in (image.modules, image.directory) if place is not None]
    raise_wall(
        [*places, *places_named, *(path.resolve().parent for path in own)],
        cpu_limit=600 + arguments.time,
        processes=True,
    )


def _say_building(kernel: str, path: Path) -> None:
    print(f"building {path} for {kernel}", file=sys.stderr)


def _others(arguments: argparse.Namespace, store: Store, image: KernelImage) -> tuple[str, ...]:
    """The other kernels to ask: those that are named, else the newest of each other series of the cache."""
    if not arguments.ask_others:
        return ()
    if arguments.elsewhere:
        return tuple(dict.fromkeys(store.get(name).name for name in arguments.elsewhere))
    from kobox.checks.runner.other_kernels import newest_of_each_series

    checked = [image, *(store.get(name) for name in arguments.kernel or ())]
    same = [kernel for kernel in store.list() if kernel.architecture == image.architecture]
    return newest_of_each_series(
        [(kernel.name, kernel.release) for kernel in same], [kernel.release for kernel in checked]
    )


class _Counter:
    """Progress in runs, on the line of a terminal."""

    def __init__(self, line: ProgressLine) -> None:
        self._line = line

    def __call__(self, what: str, done: int, total: int) -> None:
        self._line(f"{what}", 0, 0) if not total else self._line(f"{what} {done} of {total}", 0, 0)


def _plan(
    arguments: argparse.Namespace,
    image: KernelImage,
    module: ModuleFile,
    before: Sequence[ModuleFile],
    others: tuple[str, ...],
) -> CheckPlan:
    from kobox.checks.faults.fault_injection import parse_id
    from kobox.checks.races.own_races import parse_own_race
    from kobox.checks.races.race_calls import parse_data_race
    from kobox.checks.races.races import parse_race
    from kobox.checks.runner.plan import CheckPlan

    race = arguments.replay.startswith("race:")
    parsers: dict[str, Callable[[str], DataRace | OwnRace]] = {"datarace": parse_data_race, "ownrace": parse_own_race}
    parse = parsers.get(arguments.replay.partition(":")[0])
    needed = _needed(module, {other.name: other for other in before})
    return CheckPlan(
        module=module.path,
        kernel=image.name,
        needs=tuple(other.path for other in before if other.name in needed),
        parameters=" ".join(arguments.parameters),
        exercise=arguments.exercise,
        loads=arguments.loads,
        faults=arguments.faults,
        depth=arguments.depth,
        fault_tables=tuple(str(path) for path in arguments.fault_table),
        replay=() if race or parse else parse_id(arguments.replay),
        race=parse_race(arguments.replay) if race else None,
        races=arguments.races,
        data_race=parse(arguments.replay) if parse else None,
        preempt=arguments.preempt,
        seed=arguments.seed,
        seconds=arguments.time,
        workers=arguments.jobs,
        phantom=arguments.phantom,
        hostile=arguments.hostile,
        elsewhere=others,
        elsewhere_named=bool(arguments.elsewhere),
        source=arguments.source if not Path(arguments.source).samefile(module.path) else "",
    )


def _needed(module: ModuleFile, known: dict[str, ModuleFile]) -> set[str]:
    """The modules of this directory that one needs, and those need."""
    found: set[str] = set()
    waiting = [name for name in module.depends if name in known]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [other for other in known[name].depends if other in known]
    return found


def _tell(arguments: argparse.Namespace, report: CheckReport, prog: str) -> None:
    from kobox.checks.report.quantities import quantity
    from kobox.checks.report.text import finding_lines

    colour = coloured()
    again = _again(arguments, prog)
    for finding in report.findings:
        first, *rest = map(one_line, finding_lines(finding, replay=again))
        print(paint(_COLOURS[finding.severity], first) if colour else first)
        if not arguments.quiet:
            print("\n".join(rest) + "\n")
    for line in _summary(report) if report.release and not arguments.quiet else ():
        print(one_line(demangle_text(line)))
    if report.crashes and arguments.crashes is None and not arguments.quiet:
        print(f"tests     --crashes DIR writes {quantity(len(report.crashes), 'test')} that fail like this")
    if report.findings and not arguments.quiet:
        print(f"repeat    {one_line(again)}")
    verdict = one_line(_verdict(report))
    clean = not report.findings and (report.lives or report.known)
    print(paint("32;1" if clean else "31;1", verdict) if colour else verdict)


def _again(arguments: argparse.Namespace, prog: str) -> str:
    """The command that makes the same runs, without what it writes."""
    import shlex

    words = [arguments.source, *arguments.parameters]
    words += [word for name in arguments.kernel or () for word in ("-k", name)]
    words += [word for path in arguments.fault_table for word in ("--fault-table", str(path))]
    words += ["--exercise", arguments.exercise] if arguments.exercise != "auto" else []
    words += ["--seed", str(arguments.seed)] if arguments.seed else []
    words += ["--corpus", str(arguments.corpus)] if arguments.corpus is not None else []
    return f"{prog} {shlex.join(words)}"


def _summary(report: CheckReport) -> list[str]:
    import kobox
    from kobox.checks.report.quantities import quantity

    lines = [
        f"kernel    {report.release}; kobox {kobox.__version__}, {report.date}",
        f"loads     loaded and unloaded {quantity(report.lives, 'time')}, {quantity(report.runs, 'run')} in all",
    ]
    if report.plan.device is not None:
        lines.append(f"device    {report.plan.device}")
    if report.files:
        files = ", ".join(report.files[:6]) + (f" and {len(report.files) - 6} more" if len(report.files) > 6 else "")
        gone = f", {report.abandoned} abandoned because they did not come back" if report.abandoned else ""
        lines.append(f"exercise  {report.calls} calls{gone}: {files}")
    if report.places or report.tried:
        stages: dict[str, int] = {}
        for stage in report.places.values():
            stages[stage] = stages.get(stage, 0) + 1
        where = ", ".join(f"{count} in {stage}" for stage, count in stages.items())
        lines.append(
            f"faults    {report.tried} tried; {quantity(len(report.places), 'place')} where a call can fail"
            + (f": {where}" if where else "")
        )
    if report.raced:
        lines.append(f"races     {report.raced} interruptions, {report.switched} times another process came in")
    if report.elsewhere:
        if report.refused and not report.plan.elsewhere_named:
            names = ", ".join(report.refused)
            lines.append(f"elsewhere refused as it is by {names} (--elsewhere NAME says why)")
        else:
            how = "built for" if report.plan.source else "asked"
            lines.append(f"elsewhere {how} {', '.join(report.elsewhere)}")
    if report.coverage:
        lines += [
            f"coverage  {line}" if not n else f"          {line}" for n, line in enumerate(report.coverage.summary())
        ]
    for known in report.known:
        why = f"allowed: {known.reason}" if known.how == "comment" else "in the baseline"
        lines.append(f"known     {known.finding} ({why})")
    for number, text in enumerate(report.unchecked):
        lines.append(f"{'unchecked' if not number else '':<10}{text}")
    lines.append(f"time      {report.seconds.get('all', 0.0):.2f} s")
    return lines


def _verdict(report: CheckReport) -> str:
    counts: dict[str, int] = {}
    for finding in report.findings:
        counts[finding.severity] = counts.get(finding.severity, 0) + 1
    if counts:
        found = ", ".join(f"{count} {severity}{'s' if count != 1 else ''}" for severity, count in counts.items())
        replayed = report.plan.replay or report.plan.race or report.plan.data_race
        never = not report.lives and not replayed
        return f"{report.module}: {found}" + ("; it could not be loaded and unloaded" if never else "")
    if report.known:
        from kobox.checks.report.quantities import quantity

        return f"{report.module}: nothing new; {quantity(len(report.known), 'known finding')}"
    if not report.lives and not (report.plan.replay or report.plan.race or report.plan.data_race):
        return f"{report.module}: could not be checked: {report.ended or 'it was never loaded and unloaded'}"
    return f"{report.module}: nothing found" + (", as far as it was checked" if report.unchecked else "")


def _write(directory: Path | None, path: Path, content: bytes) -> None:
    """Write a file; only `directory` is made where it is missing."""
    if path.parent == directory:
        directory.mkdir(parents=True, exist_ok=True)
    write_file(path, content)


def _write_files(
    arguments: argparse.Namespace, reports: Sequence[CheckReport], write: Callable[[Path, bytes], None]
) -> None:
    if arguments.crashes is not None:
        for report in reports:
            _write_crashes(arguments.crashes, report, write)
    if arguments.sarif:
        import kobox
        from kobox.checks.report.sarif import sarif

        write(arguments.sarif, (json.dumps(sarif(reports, kobox.__version__), indent=2) + "\n").encode())
    if arguments.write_baseline:
        from kobox.checks.report.known import baseline_text

        kept = [(report.module, one.finding) for report in reports for one in report.known if one.how == "baseline"]
        new = [(report.module, finding) for report in reports for finding in report.findings]
        write(arguments.write_baseline, baseline_text([*kept, *new]).encode())
    if arguments.html:
        from kobox.checks.report.html import page

        write(arguments.html, page(reports).encode())
    if arguments.lcov:
        write(arguments.lcov, "".join(report.coverage.lcov() for report in reports if report.coverage).encode())


def _keep_corpus(
    arguments: argparse.Namespace,
    reports: Sequence[CheckReport],
    corpus: Corpus,
    write: Callable[[Path, bytes], None],
) -> None:
    """Write what the exercise found worth doing; what is kept of other modules stays."""
    if arguments.corpus is None:
        return
    from kobox.checks.fuzz.corpus import corpus_text

    new = {report.module: report.programs for report in reports if report.programs}
    write(arguments.corpus, corpus_text({**corpus, **new}).encode())


def _write_crashes(directory: Path, report: CheckReport, write: Callable[[Path, bytes], None]) -> None:
    from kobox.checks.runner.minimise import source_of, word_of

    for crash in report.crashes:
        path = directory / f"test_{word_of(report.module)}_{crash.name}.py"
        write(path, source_of(crash, report.plan, report.module, path).encode())
        record = path.with_suffix(".kbx")
        write(record, _record(crash, report).pack())
        print(f"{path}: a test that fails like this: {one_line(str(crash.finding))}", file=sys.stderr)
        print(f"{record}: the same for `kobox replay`, with or without --check", file=sys.stderr)


def _record(crash: Crash, report: CheckReport) -> LifeRecord:
    """What leads to a finding, as a file that repeats it."""
    import kobox
    from kobox.apps.life_record import LifeRecord, RecordedBox
    from kobox.apps.recorded_life import recorded_kernel, recorded_modules
    from kobox.images.store import Store
    from kobox.ko.modulefile import ModuleFile

    plan = report.plan
    files = [ModuleFile(path) for path in (*plan.needs, plan.module)]
    return LifeRecord(
        kobox.__version__,
        "life",
        recorded_kernel(Store().ensure(plan.kernel)),
        RecordedBox(plan.memory),
        recorded_modules(files, [*[""] * len(plan.needs), plan.parameters]),
        programs=crash.programs,
        finding=one_line(str(crash.finding)),
    )


def _parser(prog: str) -> CommandParser:
    parser = CommandParser(
        prog=prog,
        description="Find what is wrong in a module: load, exercise and unload it in a box while every check watches, "
        "then again once for every call that can fail.",
    )
    parser.add_argument("source", metavar="FILE.ko|FILE.c|DIR", help="a module, or source that is built first")
    parser.add_argument("parameters", nargs="*", metavar="NAME=VALUE", help="module parameters")
    parser.add_argument("-k", "--kernel", action="append", metavar="NAME", help="the kernel to boot; repeatable")
    parser.add_argument(
        "--exercise", default="auto", metavar="none|auto|FILE.py", help="what to do with it between load and unload"
    )
    parser.add_argument(
        "--faults", action=argparse.BooleanOptionalAction, default=True, help="fail each call that can fail (default)"
    )
    parser.add_argument("--depth", type=int, default=1, metavar="N", help="fail up to N calls in one run (default: 1)")
    parser.add_argument("--replay", default="", metavar="ID", help="only the run with this fault")
    parser.add_argument(
        "--fault-table",
        action="append",
        type=Path,
        default=[],
        metavar="FILE.toml",
        help="more functions that can fail",
    )
    parser.add_argument(
        "--preempt",
        type=int,
        nargs="?",
        const=96,
        default=0,
        metavar="RUNS",
        help="interrupt the module's code and let other processes and timers run (default: 96 runs)",
    )
    parser.add_argument(
        "--races",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="make its calls at the same moment on two CPUs (default)",
    )
    parser.add_argument(
        "--elsewhere",
        action="append",
        metavar="NAME",
        default=[],
        help="test against this other kernel only; repeatable (default: the newest of each series in the cache)",
    )
    parser.add_argument(
        "--no-elsewhere", dest="ask_others", action="store_false", help="do not test against other kernels"
    )
    parser.add_argument(
        "--no-phantom", dest="phantom", action="store_false", help="do not make up a device for a driver"
    )
    parser.add_argument(
        "--hostile-hardware", dest="hostile", action="store_true", help="let the made-up device lie to its driver"
    )
    parser.add_argument("--loads", type=int, default=3, metavar="N", help="load and unload it N times (default: 3)")
    parser.add_argument(
        "--time", type=float, default=60.0, metavar="SECONDS", help="time for the whole check (default: 60)"
    )
    parser.add_argument(
        "--corpus",
        type=Path,
        metavar="FILE",
        help="begin with the programs that are kept in this file, and keep there what the exercise found worth doing",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed for random choices (default: 0)")
    parser.add_argument(
        "--fail-on", choices=("error", "warning", "note"), default="error", help="what makes the exit status 1"
    )
    parser.add_argument(
        "--source",
        dest="source_directory",
        type=Path,
        metavar="DIR",
        help="where the source of FILE.ko is, with comments that allow findings (default: beside it)",
    )
    parser.add_argument(
        "--baseline", type=Path, metavar="FILE", help="findings in this file are known: they do not count"
    )
    parser.add_argument("--write-baseline", type=Path, metavar="FILE", help="write what is found there, as a baseline")
    parser.add_argument(
        "--crashes",
        type=Path,
        metavar="DIR",
        help="write what the exercise found there, as tests for pytest that fail as long as the module does it",
    )
    parser.add_argument("-j", "--jobs", type=int, default=0, metavar="N", help="processes (default: one a CPU)")
    parser.add_argument("-q", "--quiet", action="store_true", help="a line for each finding, and the verdict")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--sarif", type=Path, metavar="FILE", help="write the findings as SARIF 2.1.0")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the report as one page to look at")
    parser.add_argument(
        "--lcov", type=Path, metavar="FILE", help="write the coverage of lines, for genhtml and editors"
    )
    return parser
