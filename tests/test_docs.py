"""The Python examples of the documentation run as they are written, in a directory that has hello.ko."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from kobox.images.store import KernelImage
from tests.building import BuiltTestModules
from tests.debian import EXT4, Programs
from tests.test_architecture import FLOORS

ROOT = Path(__file__).parent.parent
RUNNABLE = (
    "README.md",
    *(
        f"docs/{name}.md"
        for name in (
            "box",
            "shell",
            "network",
            "disks",
            "hardware",
            "devices",
            "races",
            "debugging",
            "graph",
            "trace",
            "profile",
            "drgn",
            "monitor",
        )
    ),
)


def python_in(page: str) -> list[tuple[int, str]]:
    """(line number, code) of each Python block of a page."""
    text = (ROOT / page).read_text()
    blocks = re.finditer(r"^```python\n(.*?)^```$", text, flags=re.M | re.S)
    return [(text.count("\n", 0, match.start(1)) + 1, match[1]) for match in blocks]


@pytest.mark.parametrize("page", RUNNABLE)
def test_the_examples_of_a_page_run_in_order(
    page: str,
    modules: BuiltTestModules,
    full_kernel: KernelImage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("hello", "pcicounter"):
        shutil.copy(modules(name), tmp_path)
    if page in ("docs/disks.md", "docs/devices.md"):
        Programs(*EXT4).run("mkfs.ext4", "-q", "-F", tmp_path / "disk.img", "64M")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KOBOX_KERNEL", full_kernel.name if page == "docs/devices.md" else modules.kernel.name)
    blocks = python_in(page)
    assert blocks
    names: dict[str, object] = {}
    for line, code in blocks:
        exec(compile("\n" * (line - 1) + code, page, "exec"), names)


@pytest.mark.parametrize(
    "page", [str(path.relative_to(ROOT)) for path in [ROOT / "README.md", *ROOT.glob("docs/*.md")]]
)
def test_links_between_pages_lead_somewhere(page: str) -> None:
    here = ROOT / page
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", here.read_text()):
        assert (here.parent / target).exists(), f"{page} links to {target}"


def test_the_indexes_name_every_page_and_the_reference_has_every_room() -> None:
    for folder in (ROOT / "docs", ROOT / "docs/reference"):
        index = (folder / "index.md").read_text()
        assert {page.name for page in folder.glob("*.md") if f"]({page.name})" not in index} == {"index.md"}
    commands = {"cli"}  # their reference is `kobox COMMAND --help`
    pages = {page.stem for page in (ROOT / "docs/reference").glob("*.md")} - {"index"}
    assert pages == {"kobox", *(set(FLOORS) - commands)}
