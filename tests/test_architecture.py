"""The rules of `docs/architecture.md`: an import goes only to a floor below, and no files import in a circle.

The table there is the only one: this test reads it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "kobox"
FILES = sorted(path for path in PACKAGE.rglob("*.py") if "templates" not in path.parts)
# The front door of the package: its names are imported when they are first used.
FRONT = {"__init__", "__main__"}


def floors(text: str) -> dict[str, int]:
    """Room -> floor, as the table of rooms in docs/architecture.md has them."""
    rows = re.findall(r"^\| (\d+) \| `kobox/(\w+)(?:/|\.py)` \|", text, re.MULTILINE)
    return {room: int(floor) for floor, room in rows}


FLOORS = floors((ROOT / "docs" / "architecture.md").read_text())


def module_of(path: Path) -> str:
    """The dotted name of a file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imports(source: str, modules: Mapping[str, object]) -> Iterator[str]:
    """The modules of kobox that a source imports, also late and for type checking."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "kobox")
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "kobox":
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in modules else node.module


def upwards(module: str, targets: Iterator[str]) -> list[str]:
    """The imports that break the rule of floors."""
    room = room_of(module)
    return [
        f"{module} imports {target}"
        for target in targets
        if room_of(target) not in (room, *FRONT) and FLOORS[room_of(target)] >= FLOORS[room]
    ]


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """The groups of modules that import each other in a circle (Tarjan's strongly connected components)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        order[module] = low[module] = len(order)
        stack.append(module)
        for target in sorted(graph.get(module, ())):
            if target not in order:
                visit(target)
                low[module] = min(low[module], low[target])
            elif target in stack:
                low[module] = min(low[module], order[target])
        if low[module] == order[module]:
            group = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(group) > 1 or module in graph.get(module, ()):
                found.append(sorted(group))

    for module in graph:
        if module not in order:
            visit(module)
    return found


MODULES = {module_of(path): path for path in FILES}
GRAPH = {module: set(imports(path.read_text(), MODULES)) for module, path in MODULES.items()}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_go_only_downwards(module: str) -> None:
    if room_of(module) in FRONT:
        return
    assert room_of(module) in FLOORS, f"{module}: a room that the table of docs/architecture.md does not have"
    assert not upwards(module, iter(GRAPH[module]))


def test_no_room_of_the_table_is_missing() -> None:
    assert {room_of(module) for module in MODULES} - FRONT == set(FLOORS)


def test_no_files_import_each_other_in_a_circle() -> None:
    assert not circles(GRAPH)


def walks(text: str) -> list[list[str]]:
    """The files of each walk through the house that docs/architecture.md describes, in order."""
    chapter = text.split("## Two walks")[1].split("\n## ")[0]
    lists = re.findall(r"(?:^\d+\. `[^`]+`.*\n)+", chapter, re.MULTILINE)
    return [re.findall(r"^\d+\. `([^`]+)`", rows, re.MULTILINE) for rows in lists]


def broken_steps(files: list[str]) -> list[str]:
    """The steps of a walk where a file does not import the next one; C files must exist."""
    broken = [file for file in files if not (ROOT / file).is_file()]
    python = [module_of(ROOT / file) for file in files if file.endswith(".py")]
    return broken + [f"{a} -> {b}" for a, b in pairwise(python) if b not in GRAPH.get(a, ())]


def test_the_walks_follow_the_imports() -> None:
    described = walks((ROOT / "docs" / "architecture.md").read_text())
    assert [len(files) > 4 for files in described] == [True, True]
    assert [broken_steps(files) for files in described] == [[], []]


def class_names(sources: Mapping[str, str]) -> dict[str, list[str]]:
    """Public class name -> the modules that define it at their top."""
    found: dict[str, list[str]] = {}
    for module, source in sources.items():
        for node in ast.parse(source).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found.setdefault(node.name, []).append(module)
    return found


def test_a_class_name_stands_in_one_file_only() -> None:
    found = class_names({module: path.read_text() for module, path in MODULES.items()})
    assert {name: where for name, where in found.items() if len(where) > 1} == {}


# -- the rules themselves: a deliberate breach of each fails -----------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("kobox.machine.pc", "from kobox.box.box import Box"),
        ("kobox.ko.elf", "import kobox.images.store"),
        ("kobox.box.box", "def late():\n    from kobox.checks.lint import rules"),
        ("kobox.kbuild.build", "from kobox.box.box import Box"),
    ],
)
def test_an_import_upwards_or_to_another_room_of_the_floor_is_found(module: str, source: str) -> None:
    assert upwards(module, imports(source, MODULES))


def test_a_circle_is_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert not circles({"a": {"b", "c"}, "b": {"c"}, "c": set()})


def test_no_room_hides_a_public_name() -> None:
    """`kobox.build()` must stay the function after `import kobox.kbuild.build`: a sub-package becomes an attribute."""
    import kobox

    assert not set(kobox.__all__) & {room_of(module) for module in MODULES}


def test_a_walk_that_skips_a_file_is_found() -> None:
    assert broken_steps(["kobox/cli/run.py", "kobox/machine/pc.py"]) == ["kobox.cli.run -> kobox.machine.pc"]
    assert broken_steps(["kobox/cli/walked.py"]) == ["kobox/cli/walked.py"]


def test_a_class_name_in_two_files_is_found() -> None:
    assert class_names({"a": "class Plan: ...", "b": "class Plan: ..."}) == {"Plan": ["a", "b"]}
