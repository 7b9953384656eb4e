"""The targets of the Makefile that the documentation names."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
_FAMILIES = r"(?:check|bench|sweep|test|fuzz|sanitize)(?:-[a-z]+)*(?!-)"
_NAMED = re.compile(rf"`make ({_FAMILIES}|setup|demo|docs|dist|wheels|deb|zipapp|gallery|soak)\b")


def test_each_target_that_is_named_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]
    named = {(name, page.name) for page in pages for name in _NAMED.findall(page.read_text())}
    assert len(named) > 40
    assert not sorted((name, page) for name, page in named if name not in targets)


def test_each_target_has_a_recipe_or_needs_what_has() -> None:
    text = (ROOT / "Makefile").read_text()
    for name in re.findall(r"^([a-z-]+):.*##", text, re.M):
        assert name == "setup" or re.search(rf"^{name}:.*\n\t", text, re.M), name
