"""Bugs that Linux had, in real drivers: whether `kobox check`'s checks find them, and find nothing once they are fixed.

    python bench/known.py [--kernel NAME] [--only PATTERN] [--races] [--rows FILE] [--update FILE]
                          [--update-races FILE] [--verbose]

Each case of bench/turned_fixes/cases.toml is the reverse of a fix that the stable kernels have, as a patch. The driver
is built twice from the source that the kernel was built from, with the patch and as it is, and runs in a box with what
it needs. Where the case names an exercise (bench/turned_fixes/exercises.py), that takes it to where the bug is. A PCI
driver without one gets the whole check: a phantom device that is made up for it, and every call that can fail. Where
the bug is a race, two CPUs make calls at once (bench/turned_fixes/race_calls.py). Exit
status 1 when a bug is not found at its line, or an error is reported of a driver that is fixed; an error that is true,
and another mistake than that of the case, the case names (`also`). With --rows, what was done is kept in a file, a line
of JSON for each case, and not done again.
"""

from __future__ import annotations

import argparse
import difflib
import fnmatch
import json
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.turned_fixes.exercises import EXERCISES
from bench.turned_fixes.race_calls import CALLS
from kobox.box.boot.boot import boot
from kobox.box.box import Box
from kobox.checks.races.data_races import CMDLINE, CPUS, DataRaceSearch
from kobox.checks.report.finding import Finding, Severity
from kobox.checks.runner.check import check
from kobox.checks.runner.examiner import checks_of
from kobox.checks.runner.plan import CHECKS, CheckPlan
from kobox.checks.runner.session import Examination
from kobox.errors import KoboxError
from kobox.images.debian.packages import packages
from kobox.images.store import KernelImage, Store
from kobox.kbuild.build import build
from kobox.ko.modulefile import ModuleFile
from tests.debian import cache_root

HERE = Path(__file__).parent / "turned_fixes"
HEADING = "## Case by case"
RACES_BEGIN, RACES_END = "<!-- races that Linux had -->", "<!-- end of races that Linux had -->"
PARAMETERS = {"comedi": "comedi_num_legacy_minors=4", "i2c-stub": "chip_addr=0x2f"}
"""Of modules that cases need, or are."""
SLACK = 2  # lines
WHOLE_CHECK = 240.0  # seconds; none of the cases needs half of it

Case = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """One case: what was found in the driver with the bug, and in the one without."""

    case: Case
    bad: list[Finding]
    good: list[Finding]
    found: Finding | None
    error: str

    @property
    def verdict(self) -> str:
        """In a word or two."""
        if self.error:
            return f"not run: {self.error}"
        if self.alarms:
            return f"FALSE ALARM: {self.alarms[0].kind}"
        return "found" if self.found else "elsewhere" if self.bad else "not found"

    @property
    def alarms(self) -> list[Finding]:
        """Errors of the driver without the bug, but those that the case knows to be true."""
        also = self.case.get("also")
        errors = [one for one in self.good if one.severity is Severity.ERROR]
        return [one for one in errors if also is None or re.search(also, one.message) is None]

    @property
    def line(self) -> str:
        """Its line of the table."""
        where = self.found.where if self.found is not None else None
        by = f"{self.found.kind} ({Path(where.file).name}:{where.line})" if self.found and where and where.file else ""
        name = self.case.get("module", self.case["name"])
        verdict = "found" if self.alarms and self.found else self.verdict
        clean = "clean" if not self.alarms and not self.error else self.verdict
        return f"| {name} | {self.case['fix']} | {verdict} | {by} | {clean} |"


def cases(only: str) -> list[Case]:
    """Those whose names match."""
    rows: list[Case] = tomllib.loads((HERE / "cases.toml").read_text())["case"]
    return [row for row in rows if fnmatch.fnmatch(row["name"], only)]


def files_of(case: Case) -> list[str]:
    """The files of the kernel's source that a case is built from."""
    return [*case["sources"], *case.get("headers", ()), *case.get("beside", ()), *case.get("later", ())]


def sources(kernel: KernelImage, wanted: list[Case]) -> Path:
    """The files of all cases out of the package with the kernel's source, laid out as there."""
    version, suite = re.match(r"\d+\.\d+", kernel.release), re.match(r"debian/([a-z]+)", kernel.origin)
    if version is None or suite is None:
        raise SystemExit(f"{kernel.name}: not a kernel of Debian's: its source is not known")
    name = f"linux-source-{version[0]}"
    (package,) = packages(Store(), [name], suite=suite[1], alone=True)
    if not package.name.endswith(kernel.origin.split()[-1]):
        print(f"{kernel.name}: built from another version of the source than {package.name}", file=sys.stderr)
    place = cache_root() / f"{package.name}-known"
    files = sorted({file for case in wanted for file in files_of(case)})
    if not all((place / file).exists() for file in files):
        place.mkdir(parents=True, exist_ok=True)
        members = [f"{name}/{file}" for file in files]
        archive = package / f"usr/src/{name}.tar.xz"
        subprocess.run(["tar", "-xJf", archive, "-C", place, "--strip-components=1", *members], check=True)
    return place


def made(case: Case, tree: Path, scratch: Path, kernel: KernelImage, *, bad: bool) -> tuple[Path, set[str]]:
    """The driver, built with the bug or without, and the lines of the bug as "file:line". Beside it is what this kernel
    does not have."""
    here = scratch / ("bad" if bad else "good") / case["name"]
    for file in files_of(case):
        (here / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tree / file, here / file)
    places: set[str] = set()
    if bad:
        subprocess.run(["patch", "-s", "-p1", "-d", here, "-i", HERE / f"{case['name']}.patch"], check=True)
        places = bug_lines(case, tree, here)
    flat = here / "flat"
    flat.mkdir()
    for file in files_of(case):
        text = (here / file).read_text()
        (flat / Path(file).name).write_text(re.sub(r'#include "\.\./[^"]*?([^"/]+)"', r'#include "\1"', text))
    module = case.get("module", case["name"])
    parts = " ".join(f"{Path(file).stem}.o" for file in case["sources"])
    rule = "" if parts == f"{module}.o" else f"{module}-y := {parts}\n"
    beside = " ".join(f"{Path(file).stem}.o" for file in (*case.get("beside", ()), *case.get("later", ())))
    (flat / "Kbuild").write_text(f"obj-m := {module}.o {beside}\n{rule}ccflags-y += -I$(src)\n")
    return next(path for path in build(flat, kernel) if path.stem == module), places


def bug_lines(case: Case, tree: Path, here: Path) -> set[str]:
    """Where the bug is: lines that the patch has made or stands at, and those that the case names by their text."""
    found: set[str] = set()
    for file in case["sources"]:
        before, after = ((place / file).read_text().splitlines() for place in (tree, here))
        changes = difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
        numbers = {
            n + 1 for tag, _, _, start, end in changes if tag != "equal" for n in range(start, max(end, start + 1))
        }
        numbers |= {n for n, line in enumerate(after, 1) if any(text in line for text in case.get("lines", ()))}
        found |= {f"{Path(file).name}:{n + k}" for n in numbers for k in range(-SLACK, SLACK + 1)}
    return found


def examined(case: Case, path: Path, kernel: KernelImage) -> list[Finding]:
    """What the checks say of a driver: in a box of its own with an exercise, or in a whole check with a phantom."""
    if "calls" in case:
        return raced(case, path, kernel)
    if "exercise" not in case:
        needs = tuple(str(path.with_name(f"{Path(other).stem}.ko")) for other in case.get("beside", ()))
        plan = CheckPlan(str(path), kernel.name, needs=needs, loads=1, seconds=WHOLE_CHECK, workers=1, exercise="none")
        return check(plan).findings
    file = ModuleFile(path)
    with boot(kernel, memory=256 << 20) as box:
        for name in case.get("needs", ()):
            box.modprobe(name, PARAMETERS.get(name, ""))
        for other in case.get("beside", ()):
            box.insmod(path.with_name(f"{Path(other).stem}.ko"))
        box.set_reset_point()

        def exercise(box: Box) -> None:
            box.limits.cpu = 3.0  # seconds of the box's time, as for a call of the exercise that gets in by itself
            EXERCISES[case["exercise"]](box, {**case, "built": path.parent})

        parameters = PARAMETERS.get(file.name, "")
        return Examination(box, file, checks_of(CHECKS)[0], parameters=parameters).run(exercise)


def raced(case: Case, path: Path, kernel: KernelImage) -> list[Finding]:
    """What two CPUs find that make a case's calls at once."""
    calls, file = CALLS[case["calls"]], ModuleFile(path)
    with boot(kernel, memory=256 << 20, cpus=CPUS, cmdline=CMDLINE) as box:
        for name in case.get("needs", ()):
            box.modprobe(name)
        for other in case.get("beside", ()):
            box.insmod(path.with_name(f"{Path(other).stem}.ko"))
        box.set_reset_point()
        search = DataRaceSearch(calls.programs)
        search.examination = Examination(box, file, [])

        def exercise(box: Box) -> None:
            calls.prepare(box)
            search(box)

        return search.examination.run(exercise)


def judged(case: Case, tree: Path, scratch: Path, kernel: KernelImage) -> Row:
    """One case, with the bug and without."""
    try:
        bad, places = made(case, tree, scratch, kernel, bad=True)
        good, _ = made(case, tree, scratch, kernel, bad=False)
        findings, clean = examined(case, bad, kernel), examined(case, good, kernel)
    except (KoboxError, OSError, subprocess.CalledProcessError) as error:
        return Row(case, [], [], None, str(error).splitlines()[0])
    wanted = Severity(case.get("severity", "error"))
    hits = [one for one in findings if one.severity is wanted and at(one) & places]
    kinds = [one for one in hits if re.search(case["kind"], f"{one.kind} {one.message}", re.IGNORECASE)]
    return Row(case, findings, clean, next(iter(kinds or hits), None), "")


def at(finding: Finding) -> set[str]:
    """The lines of a finding, as "file:line"."""
    return {f"{Path(frame.file).name}:{frame.line}" for frame in finding.chain if frame.file}


def table(rows: list[dict[str, str]], kernel: KernelImage) -> str:
    """The table of docs/check-known.md."""
    found = sum(row["verdict"] == "found" for row in rows)
    alarms = sum(not row["line"].endswith("| clean |") for row in rows)
    head = f"On {kernel.release}, {found} of {len(rows)} found; drivers with the fix that have an error: {alarms}."
    text = [head, "", "| driver | fix | with the bug | by | fixed |", "|---|---|---|---|---|"]
    return "\n".join([*text, *(row["line"] for row in rows)]) + "\n"


def kept(path: Path | None) -> dict[str, dict[str, str]]:
    """What a run before has kept, by the case's name."""
    lines = path.read_text().splitlines() if path is not None and path.exists() else []
    return {row["name"]: row for row in map(json.loads, lines)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel", default="6.1.0-56-amd64", help="a kernel in the cache that has drivers")
    parser.add_argument("--only", default="*", help="cases whose names match")
    parser.add_argument("--rows", type=Path, help="keep what was done in this file, and go on from it")
    parser.add_argument("--update", type=Path, help="write the table into this page")
    parser.add_argument("--races", action="store_true", help="only the cases whose bug is a race")
    parser.add_argument("--update-races", type=Path, help="write the table of races into this page")
    parser.add_argument("--verbose", action="store_true", help="print each finding")
    arguments = parser.parse_args()
    if arguments.rows is not None:
        arguments.rows.parent.mkdir(parents=True, exist_ok=True)
    kernel = Store().get(arguments.kernel)
    wanted = [case for case in cases(arguments.only) if "calls" in case or not arguments.races]
    tree, rows = sources(kernel, wanted), kept(arguments.rows)
    with tempfile.TemporaryDirectory() as scratch:
        for case in wanted:
            if case["name"] not in rows:
                row = judged(case, tree, Path(scratch), kernel)
                rows[case["name"]] = {"name": case["name"], "verdict": row.verdict, "line": row.line}
                if arguments.rows is not None:
                    with arguments.rows.open("a") as out:
                        print(json.dumps(rows[case["name"]]), file=out)
                for finding in (*row.bad, *row.good) if arguments.verbose else ():
                    print(f"    {finding.severity} {finding.kind}: {finding.message} at {finding.where}")
            print(f"{case['name']:14} {rows[case['name']]['verdict']}", flush=True)
    done = [rows[case["name"]] for case in wanted]
    print(f"{sum(row['verdict'] == 'found' for row in done)} of {len(done)}")
    races = {case["name"] for case in wanted if "calls" in case}
    if arguments.update:
        page = arguments.update.read_text()
        head = page[: page.index(HEADING)]
        others = [row for row in done if row["name"] not in races]
        arguments.update.write_text(f"{head}{HEADING}\n\n{table(others, kernel)}")
    if arguments.update_races:
        text = arguments.update_races.read_text()
        before, _, rest = text.partition(RACES_BEGIN)
        _, _, after = rest.partition(RACES_END)
        found = table([row for row in done if row["name"] in races], kernel)
        arguments.update_races.write_text(f"{before}{RACES_BEGIN}\n\n{found}\n{RACES_END}{after}")
    return 0 if all(row["verdict"] == "found" for row in done) else 1


if __name__ == "__main__":
    sys.exit(main())
