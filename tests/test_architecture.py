"""An import goes only downwards: `docs/architecture.md` says which room is on which floor."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "kobox"
FLOORS = {
    "errors": 0,
    "ko": 1,
    "machine": 1,
    "tree": 2,
    "images": 2,
    "kernel": 3,
    "tools": 4,
    "author": 4,
    "checks": 4,
    "cli": 5,
    "pytest_plugin": 5,
}
# Rooms of one floor that may know each other, and the one module that reads the version.
NEIGHBOURS = {("author", "tools"), ("checks", "tools"), ("checks", "author")}
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """The rooms of kobox that a file imports from, also late and for type checking."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "kobox" else [node.module]
        for name in names:
            parts = name.split(".")
            if parts[0] == "kobox" and len(parts) > 1 and parts[1] in FLOORS:
                yield parts[1]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_only_downwards(path: Path) -> None:
    room = room_of(path)
    if room in ("__init__", "__main__"):
        return
    assert room in FLOORS, f"{path}: a room that the table of floors does not have"
    for other in imports(path):
        allowed = other == room or FLOORS[other] < FLOORS[room] or (room, other) in NEIGHBOURS
        assert allowed, f"kobox/{room} imports kobox/{other}"


def test_the_table_of_rooms_is_complete() -> None:
    documented = (PACKAGE.parent / "docs" / "architecture.md").read_text()
    for room in FLOORS:
        assert f"`kobox/{room}" in documented
