"""Bugs that Linux had, in real drivers: whether `kobox check`'s checks find them, and find nothing once they are fixed.

    python bench/known.py [--kernel NAME] [--only PATTERN] [--update FILE] [--verbose]

Each case of bench/turned_fixes/cases.toml is the reverse of a fix that the stable kernels have, as a patch. The driver
is built twice from the source that the kernel was built from, with the patch and as it is, and runs in a box with what
it needs. Where the case names an exercise (bench/turned_fixes/exercises.py), that takes it to where the bug is. A PCI
driver without one gets the whole check: a phantom device that is made up for it, and every call that can fail. Exit
status 1 when a bug is not found at its line, or an error is reported of a driver that is fixed.
"""

from __future__ import annotations

import argparse
import difflib
import fnmatch
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
from kobox.box.boot.boot import boot
from kobox.box.box import Box
from kobox.checks.report.finding import Finding, Severity
from kobox.checks.runner.check import check
from kobox.checks.runner.examiner import checks_of
from kobox.checks.runner.plan import CHECKS, CheckPlan
from kobox.checks.runner.session import Examination
from kobox.errors import KoboxError
from kobox.images.store import KernelImage, Store
from kobox.kbuild.build import build
from kobox.ko.modulefile import ModuleFile
from tests.debian import Suite, cache_root

HERE = Path(__file__).parent / "turned_fixes"
HEADING = "## Case by case"
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
        alarms = [one for one in self.good if one.severity is Severity.ERROR]
        if alarms:
            return f"FALSE ALARM: {alarms[0].kind}"
        return "found" if self.found else "elsewhere" if self.bad else "not found"


def cases(only: str) -> list[Case]:
    """Those whose names match."""
    rows: list[Case] = tomllib.loads((HERE / "cases.toml").read_text())["case"]
    return [row for row in rows if fnmatch.fnmatch(row["name"], only)]


def files_of(case: Case) -> list[str]:
    """The files of the kernel's source that a case is built from."""
    return [*case["sources"], *case.get("headers", ()), *case.get("beside", ()), *case.get("later", ())]


def sources(kernel: KernelImage, wanted: list[Case]) -> Path:
    """The files of all cases out of the package with the kernel's source, laid out as there."""
    version, suite = re.match(r"\d+\.\d+", kernel.release), re.match(r"debian/([a-z-]+)", kernel.origin)
    if version is None or suite is None:
        raise SystemExit(f"{kernel.name}: not a kernel of Debian's: its source is not known")
    name = f"linux-source-{version[0]}"
    place = cache_root() / f"{name}-known"
    files = sorted({file for case in wanted for file in files_of(case)})
    if not all((place / file).exists() for file in files):
        archive = Suite(suite[1]).package(name) / f"usr/src/{name}.tar.xz"
        place.mkdir(parents=True, exist_ok=True)
        members = [f"{name}/{file}" for file in files]
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
    if bad != case.get("shipped", False):
        subprocess.run(["patch", "-s", "-p1", "-d", here, "-i", HERE / f"{case['name']}.patch"], check=True)
    if bad:
        places = bug_lines(case, tree, here)
    flat = here / "flat"
    flat.mkdir()
    for file in files_of(case):
        text = (here / file).read_text()
        (flat / Path(file).name).write_text(text.replace('#include "../', '#include "'))
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


def judged(case: Case, tree: Path, scratch: Path, kernel: KernelImage) -> Row:
    """One case, with the bug and without."""
    try:
        bad, places = made(case, tree, scratch, kernel, bad=True)
        good, _ = made(case, tree, scratch, kernel, bad=False)
        findings, clean = examined(case, bad, kernel), examined(case, good, kernel)
    except (KoboxError, OSError, subprocess.CalledProcessError) as error:
        return Row(case, [], [], None, str(error).splitlines()[0])
    hits = [one for one in findings if one.severity is Severity.ERROR and at(one) & places]
    kinds = [one for one in hits if re.search(case["kind"], f"{one.kind} {one.message}", re.IGNORECASE)]
    return Row(case, findings, clean, next(iter(kinds or hits), None), "")


def at(finding: Finding) -> set[str]:
    """The lines of a finding, as "file:line"."""
    return {f"{Path(frame.file).name}:{frame.line}" for frame in finding.chain if frame.file}


def table(rows: list[Row], kernel: KernelImage) -> str:
    """The table of docs/check-known.md."""
    text = [f"On {kernel.release}:", "", "| driver | fix | with the bug | by | fixed |", "|---|---|---|---|---|"]
    for row in rows:
        alarms = [one for one in row.good if one.severity is Severity.ERROR]
        where = row.found.where if row.found is not None else None
        by = f"{row.found.kind} ({Path(where.file).name}:{where.line})" if row.found and where and where.file else ""
        name = row.case.get("module", row.case["name"])
        clean = "clean" if not alarms and not row.error else row.verdict
        text.append(f"| {name} | {row.case['fix']} | {row.verdict if not alarms else 'found'} | {by} | {clean} |")
    return "\n".join(text) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel", default="6.1.0-56-amd64", help="a kernel in the cache that has drivers")
    parser.add_argument("--only", default="*", help="cases whose names match")
    parser.add_argument("--update", type=Path, help="write the table into this page")
    parser.add_argument("--verbose", action="store_true", help="print each finding")
    arguments = parser.parse_args()
    kernel = Store().get(arguments.kernel)
    wanted = cases(arguments.only)
    tree, rows = sources(kernel, wanted), []
    with tempfile.TemporaryDirectory() as scratch:
        for case in wanted:
            rows.append(judged(case, tree, Path(scratch), kernel))
            print(f"{case['name']:14} {rows[-1].verdict}", flush=True)
            for finding in (*rows[-1].bad, *rows[-1].good) if arguments.verbose else ():
                print(f"    {finding.severity} {finding.kind}: {finding.message} at {finding.where}")
    print(f"{sum(row.verdict == 'found' for row in rows)} of {len(rows)}")
    if arguments.update:
        page = arguments.update.read_text()
        head = page[: page.index(HEADING)]
        arguments.update.write_text(f"{head}{HEADING}\n\n{table(rows, kernel)}")
    return 0 if all(row.verdict == "found" for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
