"""Drivers with one mistake each (bench/seeded): what `kobox check` finds of them, and what static analysers do.

    python bench/analysers.py [--kernel NAME] [--only PATTERN] [--without-check] [--update FILE]

Each source is built twice, as it is and with -DFIXED. An analyser has found a mistake when it says anything at its line
(the lines marked BUG, two of slack); the check, when an error's calls name that line. What is said of the corrected
twin is counted as well: at that line by an analyser, anywhere by the check (errors). The analysers are gcc's -fanalyzer
with the kernel's flags, sparse, and coccinelle with the kernel's own rules. Debian has sparse and coccinelle; smatch is
in no package archive, and is not run.
"""

from __future__ import annotations

import argparse
import fnmatch
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

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
TOOLS = ("gcc -fanalyzer", "sparse", "coccinelle")

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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel", help="a kernel in the cache")
    parser.add_argument("--only", default="*", help="sources whose names match")
    parser.add_argument("--without-check", action="store_true", help="the analysers only")
    parser.add_argument("--update", type=Path, help="write the table into this page")
    arguments = parser.parse_args()
    kernel = Store().get(arguments.kernel)
    sources = [path for path in sorted(SEEDED.glob("*.c")) if fnmatch.fnmatch(path.stem, arguments.only)]
    hits: dict[str, set[str]] = {tool: set() for tool in ("kobox check", *TOOLS)}
    alarms: dict[str, set[str]] = {tool: set() for tool in hits}
    with tempfile.TemporaryDirectory() as scratch:
        for twin, flags, into in (("bad", "", hits), ("fixed", "-DFIXED", alarms)):
            made = built(sources, kernel, Path(scratch, f"{twin}-analysed"), f"-fanalyzer {flags}")
            for tool, said_at in analysed(made, flags).items():
                into[tool] |= {path.stem for path in sources if said_at & lines_of(path)}
            if arguments.without_check:
                continue
            for path in built(sources, kernel, Path(scratch, twin), flags):
                try:
                    at = checked(path, kernel)
                except KoboxError as error:
                    print(f"{path.stem} ({twin}): {error.message}", file=sys.stderr)
                    continue
                if at & lines_of(SEEDED / f"{path.stem}.c") if twin == "bad" else at:
                    into["kobox check"].add(path.stem)
                print(f"{twin} {path.stem}: {'said' if path.stem in into['kobox check'] else 'silent'}", flush=True)
    text = table(sources, hits, alarms)
    print(text)
    if arguments.update:
        page = arguments.update.read_text()
        head, _, rest = page.partition(HEADING)
        behind = rest[rest.index("\n## ") :] if "\n## " in rest else ""
        arguments.update.write_text(f"{head}{HEADING}\n\n{text}{behind}")
    return 1 if alarms["kobox check"] else 0


def table(sources: list[Path], hits: dict[str, set[str]], alarms: dict[str, set[str]]) -> str:
    """How many mistakes of each kind each tool has found."""
    tools = list(hits)
    rows = [f"| kind | modules | {' | '.join(tools)} |", f"|---|---|{'---|' * len(tools)}"]
    kinds = sorted({kind_of(path) for path in sources})
    for title, some in (
        *((kind, [path for path in sources if kind_of(path) == kind]) for kind in kinds),
        ("all", sources),
    ):
        counts = [str(sum(path.stem in hits[tool] for path in some)) for tool in tools]
        rows.append(f"| {title} | {len(some)} | {' | '.join(counts)} |")
    counts = [str(len(alarms[tool])) for tool in tools]
    rows.append(f"| said of a corrected twin | {len(sources)} | {' | '.join(counts)} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.exit(main())
