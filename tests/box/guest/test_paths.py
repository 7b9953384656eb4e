"""A path of a box beside pathlib's own: the same names, the same answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from kobox.box.box import Box

TEXTS = {
    "name": lambda path: path.name,
    "suffix": lambda path: path.suffix,
    "suffixes": lambda path: path.suffixes,
    "stem": lambda path: path.stem,
    "parts": lambda path: path.parts,
    "parent": lambda path: str(path.parent),
    "parents": lambda path: [str(one) for one in path.parents],
    "joined": lambda path: str(path.joinpath("a", "b.c")),
    "divided": lambda path: str(path / "x" / "/y"),
    "with_name": lambda path: str(path.with_name("other")),
    "with_stem": lambda path: str(path.with_stem("other")),
    "with_suffix": lambda path: str(path.with_suffix(".xz")),
    "relative": lambda path: str(path.relative_to("/sys")),
    "is_relative_to": lambda path: path.is_relative_to("/sys"),
    "is_absolute": lambda path: path.is_absolute(),
    "match": lambda path: path.match("*.ko"),
    "posix": lambda path: path.as_posix(),
}


@pytest.mark.parametrize("question", TEXTS)
@pytest.mark.parametrize("text", ["/sys/module/x.ko.xz", "/", "a.ko", "/sys", "x/../y", "", "/a//b/./c/", ".hidden"])
def test_what_concerns_the_text_is_pathlib_s(box: Box, text: str, question: str) -> None:
    ask: Callable[[Any], object] = TEXTS[question]
    try:
        expected = ask(PurePosixPath(text))
    except ValueError as error:
        with pytest.raises(ValueError, match=str(error)[:8]):
            ask(box.path(text))
    else:
        assert ask(box.path(text)) == expected


def tree(root: Any) -> Any:
    """The same files in the box and here."""
    (root / "a/b").mkdir(parents=True)
    (root / "c").mkdir()
    for name in ("one.ko", "a/two.ko", "a/b/three.ko", "a/b/text", "c/four.txt", ".dot"):
        (root / name).touch()
    (root / "a/link").symlink_to("../c")
    (root / "gone").symlink_to("nowhere")
    return root


@pytest.mark.parametrize(
    "pattern",
    ["*", "*.ko", "a/*", "*/*.ko", "**/*.ko", "**", "a/**/text", "?", "[ac]/*", "nothing", "*/link/*", "**/b/*"],
)
def test_globs_find_what_pathlib_s_find(box: Box, tmp_path: Path, pattern: str) -> None:
    here, there = tree(tmp_path / "t"), tree(box.path("/tmp/t"))
    assert {str(path.relative_to("/tmp/t")) for path in there.glob(pattern)} == {
        str(path.relative_to(here)) for path in here.glob(pattern)
    }
    if pattern != "**":
        assert {str(path.relative_to("/tmp/t")) for path in there.rglob(pattern)} >= {
            str(path.relative_to(here)) for path in here.rglob(pattern) if "link/" not in str(path)
        }


def test_a_pattern_that_is_none(box: Box) -> None:
    for pattern in ("", "/etc/*"):
        with pytest.raises(ValueError, match="pattern"):
            box.path("/").glob(pattern)


def test_the_kinds_of_files(box: Box, tmp_path: Path) -> None:
    here, there = tree(tmp_path / "t"), tree(box.path("/tmp/t"))
    for name in ("a", "a/two.ko", "a/link", "gone", "nothing"):
        for kind in ("is_dir", "is_file", "is_symlink", "exists", "is_char_device", "is_fifo", "is_socket"):
            assert getattr(there / name, kind)() == getattr(here / name, kind)(), (name, kind)
    assert box.path("/dev/null").is_char_device()
    walked = [(str(path.relative_to("/tmp/t")), sorted(dirs), sorted(files)) for path, dirs, files in there.walk()]
    assert walked[0] == (".", ["a", "c"], [".dot", "gone", "one.ko"])
    assert ("a", ["b"], ["link", "two.ko"]) in walked
    assert (there / "a/link").readlink() == box.path("../c")
    assert (there / "a/link").samefile(there / "c")


def test_files_are_written_moved_and_removed(box: Box) -> None:
    place = box.path("/tmp", "place")
    place.mkdir()
    place.mkdir(exist_ok=True)
    with pytest.raises(FileExistsError):
        place.mkdir()
    file = place / "file"
    assert file.write_text("grüß", encoding="latin-1") == 4
    assert file.read_bytes() == b"gr\xfc\xdf"
    assert file.read_text(encoding="latin-1") == "grüß"
    with file.open("a", encoding="utf-8", newline="\n") as opened:
        opened.write("ß")
    assert file.read_bytes() == b"gr\xfc\xdf\xc3\x9f"
    moved = file.rename(place / "moved")
    assert (moved.exists(), file.exists()) == (True, False)
    (place / "hard").hardlink_to(moved)
    moved.chmod(0o600)
    moved.chown(5, -1)
    facts = (place / "hard").stat()
    assert (facts.st_mode & 0o777, facts.st_uid, facts.st_nlink) == (0o600, 5, 2)
    with pytest.raises(FileExistsError):
        moved.touch(exist_ok=False)
    moved.replace(place / "hard").unlink()
    with pytest.raises(OSError, match="not empty"):
        place.rmdir()
    moved.unlink(missing_ok=True)
    for path in place.iterdir():
        path.unlink()
    place.rmdir()
    assert not place.exists()


def test_every_function_of_a_box_takes_a_path_of_it(box: Box, tmp_path: Path) -> None:
    place = box.path("/tmp/x")
    for path in (place, PurePosixPath("/tmp/x"), "/tmp/x"):
        box.write_bytes(path, b"content")
        assert (box.read_bytes(path), box.read_text(path), box.exists(path)) == (b"content", "content", True)
        assert box.stat(path).st_size == 7
        with box.open(path, "rb") as file:
            assert file.read() == b"content"
        box.files.copy_out(path, tmp_path / "out")
        assert (tmp_path / "out").read_bytes() == b"content"
        box.files.unlink(path)
        box.files.copy_in(tmp_path / "out", path)
        assert box.read_bytes(path) == b"content"
        assert box.syscall("access", path, 0) == 0
        assert "x" in box.listdir(box.path(path).parent)
    with pytest.raises(TypeError):
        Path(place)  # type: ignore[arg-type]  # no file of this machine
