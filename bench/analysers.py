"""Drivers with one mistake each (bench/seeded): what `kobox check` finds of them, and what static analysers do.

    python bench/analysers.py [--kernel NAME] [--only PATTERN] [--without-check] [--rows FILE] [--update FILE]

Each source is built twice, as it is and with -DFIXED. An analyser has found a mistake when it says anything at its line
(the lines marked BUG, two of slack); the check, when an error's calls name that line. What is said of the corrected
twin is counted as well: at that line by an analyser, anywhere by the check (errors). The analysers are gcc's -fanalyzer
with the kernel's flags, sparse, and coccinelle with the kernel's own rules. Debian has sparse and coccinelle; smatch is
in no package archive, and is not run. With --rows, what was done is kept in a file, a line of JSON for each source and
tool, and not done again: all of it takes hours.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))

from kobox.checks.report.finding import Severity
from kobox.checks.runner.check import check
from kobox.checks.runner.plan import CheckPlan
from kobox.errors import KoboxError
from kobox.images.store import KernelImage, Store
from kobox.kbuild.build import BuiltModules, build
from tests.debian import Suite, cache_root

SEEDED = Path(__file__).parent / "seeded"
HEADING = "## Beside static analysers"
SLACK = 2  # lines
CHECK, TOOLS = "kobox check", ("gcc -fanalyzer", "sparse", "coccinelle")
_AT_ONCE = 10  # sources that are built together


class Row(NamedTuple):
    """What one tool has said of one source: whether at the mistake, and whether of the twin."""

    name: str
    tool: str
    found: bool
    alarm: bool


Places = dict[str, set[str]]
"""By a tool's name: the places that it names, as "file:line"."""


def kind_of(source: Path) -> str:
    """What kind of mistake a source has."""
    found = re.search(r"/\* kind: (.*?) \*/", source.read_text())
    return found[1] if found else "other"


def lines_of(source: Path) -> set[str]:
    """The places of its mistake."""
    lines = [number for number, line in enumerate(source.read_text().splitlines(), 1) if "/* BUG */" in line]
    return {f"{source.name}:{number + k}" for number in lines for k in range(-SLACK, SLACK + 1)}


def built(sources: list[Path], kernel: KernelImage, directory: Path, flags: str) -> BuiltModules:
    """All sources, as modules of their own."""
    directory.mkdir(parents=True)
    for path in (*sources, SEEDED / "seeded.h"):
        shutil.copy(path, directory)
    names = " ".join(f"{path.stem}.o" for path in sources)
    (directory / "Kbuild").write_text(f"obj-m := {names}\nccflags-y += {flags}\n")
    return build(directory, kernel)


def analysed(made: BuiltModules, flags: str) -> Places:
    """What each analyser says of what was built with -fanalyzer."""
    found = {"gcc -fanalyzer": places(made.output, r"\[-Wanalyzer")}
    if shutil.which("sparse"):
        found["sparse"] = places("\n".join(said(["sparse", *command]) for command in commands(made)))
    if shutil.which("spatch"):
        define = ["-DFIXED"] if "FIXED" in flags else []
        sources = [str(path) for path in made.directory.glob("*.c") if not path.name.endswith(".mod.c")]
        rules = sorted(cocci_rules().rglob("*.cocci"))
        command = ["spatch", "--very-quiet", "-D", "report", "--no-includes", *define]
        found["coccinelle"] = places("\n".join(said([*command, "--cocci-file", str(rule), *sources]) for rule in rules))
    return found


def places(text: str, kind: str = "") -> set[str]:
    """The places that the lines of an analyser's output name."""
    lines = (line for line in text.splitlines() if re.search(kind, line))
    return {f"{Path(at[1]).name}:{at[2]}" for line in lines if (at := re.match(r"([^\s:]+\.[ch]):(\d+)", line))}


def commands(made: BuiltModules) -> Iterator[list[str]]:
    """The arguments that the compiler was given for each source of a build."""
    for path in sorted(made.directory.rglob(".*.o.cmd")):
        line = path.read_text().splitlines()[0].partition(":=")[2]
        words = shlex.split(line.partition(";")[0])
        if words and words[-1].endswith(".c") and not words[-1].endswith(".mod.c") and "-o" in words:
            at = words.index("-o")
            yield [word for word in (*words[1:at], *words[at + 2 :]) if word not in ("-fanalyzer", "-c")]


def said(command: list[str]) -> str:
    """All that an analyser prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, errors="replace")
    return done.stdout + done.stderr


def cocci_rules() -> Path:
    """The kernel's own semantic patches, out of the package with its source."""
    name, place = "linux-source-6.1", cache_root() / "linux-source-6.1-coccinelle"
    if not place.exists():
        archive = Suite("bookworm").package(name) / f"usr/src/{name}.tar.xz"
        place.mkdir(parents=True)
        member = f"{name}/scripts/coccinelle"
        subprocess.run(["tar", "-xJf", archive, "-C", place, "--strip-components=3", member], check=True)
    return place


def checked(path: Path, kernel: KernelImage) -> set[str]:
    """The places that errors of a check name; "error" where one names none."""
    found: set[str] = set()
    for finding in check(CheckPlan(str(path), kernel.name, workers=1, races=True)).findings:
        if finding.severity is Severity.ERROR:
            frames = (*finding.chain, *(finding.object.made_at if finding.object else ()))
            found |= {f"{Path(frame.file).name}:{frame.line}" for frame in frames if frame.file} or {"error"}
    return found


def rows_of_analysers(sources: list[Path], kernel: KernelImage) -> list[Row]:
    """What each analyser says of these sources and of their twins."""
    found: dict[str, list[set[str]]] = {}
    for flags in ("", "-DFIXED"):
        with tempfile.TemporaryDirectory() as scratch:
            made = built(sources, kernel, Path(scratch, "analysed"), f"-fanalyzer {flags}")
            for tool, said_at in analysed(made, flags).items():
                stems = {path.stem for path in sources if said_at & lines_of(path)}
                found.setdefault(tool, []).append(stems)
    return [
        Row(path.stem, tool, path.stem in bad, path.stem in good)
        for path in sources
        for tool, (bad, good) in found.items()
    ]


def row_of_check(source: Path, kernel: KernelImage) -> Row:
    """What the check says of a source and of its twin. Raises `KoboxError` when one cannot be checked."""
    at = []
    for flags in ("", "-DFIXED"):
        with tempfile.TemporaryDirectory() as scratch:
            at.append(checked(next(iter(built([source], kernel, Path(scratch, "checked"), flags))), kernel))
    return Row(source.stem, CHECK, bool(at[0] & lines_of(source)), bool(at[1]))


def kept(path: Path | None) -> list[Row]:
    """What runs before have kept."""
    lines = path.read_text().splitlines() if path is not None and path.exists() else []
    return [Row(**json.loads(line)) for line in lines]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel", help="a kernel in the cache")
    parser.add_argument("--only", default="*", help="sources whose names match")
    parser.add_argument("--without-check", action="store_true", help="the analysers only")
    parser.add_argument("--rows", type=Path, help="keep what was done in this file, and go on from it")
    parser.add_argument("--update", type=Path, help="write the table into this page")
    arguments = parser.parse_args()
    if arguments.rows is not None:
        arguments.rows.parent.mkdir(parents=True, exist_ok=True)
    kernel, rows = Store().get(arguments.kernel), kept(arguments.rows)
    sources = [path for path in sorted(SEEDED.glob("*.c")) if fnmatch.fnmatch(path.stem, arguments.only)]

    def keep(some: list[Row]) -> None:
        rows.extend(some)
        for row in some:
            print(
                f"{row.tool}: {row.name}: {'found' if row.found else 'silent'}{', twin too' if row.alarm else ''}",
                flush=True,
            )
            if arguments.rows is not None:
                with arguments.rows.open("a") as out:
                    print(json.dumps(row._asdict()), file=out)

    for source in () if arguments.without_check else sources:
        if not any(row.name == source.stem and row.tool == CHECK for row in rows):
            try:
                keep([row_of_check(source, kernel)])
            except KoboxError as error:
                print(f"{source.stem}: {error.message}", file=sys.stderr)
    left = [path for path in sources if not any(row.name == path.stem and row.tool == TOOLS[0] for row in rows)]
    for start in range(0, len(left), _AT_ONCE):
        keep(rows_of_analysers(left[start : start + _AT_ONCE], kernel))
    text = table(sources, rows)
    print(text)
    if arguments.update:
        page = arguments.update.read_text()
        head, _, rest = page.partition(HEADING)
        behind = rest[rest.index("\n## ") :] if "\n## " in rest else ""
        arguments.update.write_text(f"{head}{HEADING}\n\n{text}{behind}")
    return 1 if any(row.alarm for row in rows if row.tool == CHECK) else 0


def table(sources: list[Path], rows: list[Row]) -> str:
    """How many mistakes of each kind each tool has found."""
    tools = [tool for tool in (CHECK, *TOOLS) if any(row.tool == tool for row in rows)]
    text = [f"| kind | modules | {' | '.join(tools)} |", f"|---|---|{'---|' * len(tools)}"]
    kinds = sorted({kind_of(path) for path in sources})
    for title, some in (
        *((kind, {path.stem for path in sources if kind_of(path) == kind}) for kind in kinds),
        ("all", {path.stem for path in sources}),
    ):
        counts = [str(sum(row.found for row in rows if row.tool == tool and row.name in some)) for tool in tools]
        text.append(f"| {title} | {len(some)} | {' | '.join(counts)} |")
    counts = [str(sum(row.alarm for row in rows if row.tool == tool)) for tool in tools]
    text.append(f"| said of a corrected twin | {len(sources)} | {' | '.join(counts)} |")
    return "\n".join(text) + "\n"


if __name__ == "__main__":
    sys.exit(main())
