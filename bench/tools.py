"""What static analysers find of the bugs that the checks' tests are made of, and of those that Linux had.

    python bench/tools.py [--kernel NAME] [--update FILE]

The modules of tests/modules (a line marked "/* NAME: bad */" for each mistake) and the drivers of bench/known_bugs are
given to gcc -fanalyzer, to sparse and to coccinelle with the kernel's own rules, and to smatch where it is installed. A
mistake counts as found when an analyser says anything at its line, one line of slack. What kobox finds of them is
asserted by tests/checks, and by bench/known.py.

Debian has sparse and coccinelle: apt-get install sparse coccinelle, or unpack the packages and set PATH.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench import known
from kobox.errors import BuildError
from kobox.images.store import KernelImage, Store
from kobox.kbuild.build import BuiltModules, build
from tests.debian import Suite, cache_root

MODULES = Path(__file__).parent.parent / "tests" / "modules"
SEEDED = ("faults/memory", "misuse", "handed")
HEADING = "## Beside static analysers"
TOOLS = ("gcc -fanalyzer", "sparse", "coccinelle", "smatch")
NAMES = {"gcc -fanalyzer": "gcc", "sparse": "sparse", "coccinelle": "spatch", "smatch": "smatch"}


def seeded_lines(directory: Path) -> dict[str, set[str]]:
    """The mistakes of a directory: their names, and their places as "file:line"."""
    found = {}
    for source in sorted(directory.glob("*.c")):
        for number, line in enumerate(source.read_text().splitlines(), 1):
            for name in re.findall(r"/\* (\w+): bad", line):
                found[name] = {f"{source.name}:{number + k}" for k in (-1, 0, 1)}
    return found


def analysed(directory: Path, kernel: KernelImage) -> Iterator[tuple[str, set[str]]]:
    """Each analyser that there is, and the places that it says something about."""
    makefile = next(path for path in (directory / "Kbuild", directory / "Makefile") if path.exists())
    makefile.write_text(f"{makefile.read_text()}\nccflags-y += -fanalyzer -I$(src)\n")
    made = build(directory, kernel)
    yield "gcc -fanalyzer", places(made.output, r"\[-Wanalyzer")
    for tool, more in (("sparse", []), ("smatch", ["-p=kernel"])):
        if shutil.which(tool):
            yield tool, places("\n".join(said(tool, more, command) for command in commands(made)))
    if shutil.which("spatch"):
        rules = sorted(cocci_rules(kernel).rglob("*.cocci"))
        sources = [str(path) for path in directory.glob("*.c")]
        options = ["--very-quiet", "-D", "report", "--no-includes"]
        yield (
            "coccinelle",
            places("\n".join(said("spatch", [*options, "--cocci-file", str(rule)], sources) for rule in rules)),
        )


def places(text: str, kind: str = "") -> set[str]:
    """The places that the lines of an analyser's output name."""
    lines = (line for line in text.splitlines() if re.search(kind, line))
    return {
        f"{Path(found[1]).name}:{found[2]}" for line in lines if (found := re.match(r"([^\s:]+\.[ch]):(\d+)", line))
    }


def commands(made: BuiltModules) -> Iterator[list[str]]:
    """The arguments that the compiler was given for each source of a build."""
    for path in sorted(made.directory.rglob(".*.o.cmd")):
        line = path.read_text().splitlines()[0].partition(":=")[2]
        words = shlex.split(line.partition(";")[0])
        if words and words[-1].endswith(".c") and not words[-1].endswith(".mod.c") and "-o" in words:
            at = words.index("-o")
            yield [word for word in (*words[1:at], *words[at + 2 :]) if word not in ("-fanalyzer", "-c")]


def said(tool: str, options: list[str], arguments: list[str]) -> str:
    """All that an analyser prints."""
    headers = os.environ.get("KOBOX_HEADERS", "")
    done = subprocess.run(
        [tool, *options, *arguments], capture_output=True, text=True, cwd=headers or None, check=False
    )
    return done.stdout + done.stderr


def cocci_rules(kernel: KernelImage) -> Path:
    """The kernel's own semantic patches, out of the package with its source."""
    version, suite = re.match(r"\d+\.\d+", kernel.release), re.match(r"debian/([a-z-]+)", kernel.origin)
    if version is None or suite is None:
        raise SystemExit(f"{kernel.name}: not a kernel of Debian's: its source is not known")
    name = f"linux-source-{version[0]}"
    place = cache_root() / f"{name}-coccinelle"
    if not place.exists():
        archive = Suite(suite[1]).package(name) / f"usr/src/{name}.tar.xz"
        place.mkdir(parents=True)
        member = f"{name}/scripts/coccinelle"
        subprocess.run(["tar", "-xJf", archive, "-C", place, "--strip-components=3", member], check=True)
    return place


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel", default="6.1.0-56-amd64", help="a kernel in the cache that has drivers")
    parser.add_argument("--drivers", default="*", help="drivers of bench/known_bugs whose names match")
    parser.add_argument("--update", type=Path, help="write the table into this page")
    arguments = parser.parse_args()
    kernel = Store().get(arguments.kernel)
    mistakes: dict[str, dict[str, set[str]]] = {}
    found: dict[str, dict[str, set[str]]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for group in SEEDED:
            copy = Path(scratch, group)
            shutil.copytree(MODULES / group, copy)
            if not any((copy / name).exists() for name in ("Kbuild", "Makefile")):
                (copy / "Kbuild").write_text("".join(f"obj-m += {path.stem}.o\n" for path in copy.glob("*.c")))
            mistakes[group] = seeded_lines(copy)
            found[group] = dict(analysed(copy, kernel))
        cases = known.cases(arguments.drivers)
        tree = known.sources(kernel, cases)
        for case in cases:
            try:
                path, where = known.made(case, tree, Path(scratch), kernel, bad=True)
                mistakes[case["name"]], found[case["name"]] = {case["name"]: where}, dict(analysed(path.parent, kernel))
            except BuildError as error:
                print(f"{case['name']}: {error.message}", file=sys.stderr)
    text = table(mistakes, found)
    print(text)
    if arguments.update:
        page = arguments.update.read_text()
        head, _, rest = page.partition(HEADING)
        behind = rest[rest.index("\n## ") :] if "\n## " in rest else ""
        arguments.update.write_text(f"{head}{HEADING}\n\n{text}{behind}")
    return 0


def table(mistakes: dict[str, dict[str, set[str]]], found: dict[str, dict[str, set[str]]]) -> str:
    """How many mistakes each analyser has found, of each group."""
    rows = [f"| | mistakes | {' | '.join(TOOLS)} |", f"|---|---|{'---|' * len(TOOLS)}"]
    drivers = [name for name in mistakes if name not in SEEDED]
    for title, groups in (*((f"tests/modules/{one}", [one]) for one in SEEDED), ("bugs that Linux had", drivers)):
        total = sum(len(mistakes[group]) for group in groups)
        cells = []
        for tool in TOOLS:
            hits = sum(
                bool(where & found[group].get(tool, set())) for group in groups for where in mistakes[group].values()
            )
            cells.append(str(hits) if shutil.which(NAMES[tool]) or tool == "gcc -fanalyzer" else "not installed")
        rows.append(f"| {title} | {total} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.exit(main())
