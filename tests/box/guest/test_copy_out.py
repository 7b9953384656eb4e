"""What comes out of a box is written below the target and nowhere else, whatever the box answers."""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from kobox.box.box import Box
from kobox.box.guest.answers import answered, is_file_name, written
from kobox.box.guest.copy_out import CopyLimits, copy_out
from kobox.box.guest.files import parse_dirents
from kobox.box.inspect.probes import Hit
from kobox.errors import BoxError
from tests.building import BuiltTestModules

_SI, _DI = 0x68, 0x70  # struct pt_regs: the second and the first argument of a system call


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Path]:
    """A directory to copy to, and one beside it in which nothing may appear."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "out").mkdir()
    yield tmp_path / "out"
    assert os.listdir(tmp_path / "outside") == []
    assert sorted(os.listdir(tmp_path)) == ["out", "outside"]
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".kobox-")]


@pytest.fixture
def forge(box: Box) -> Iterator[Callable[[str, Callable[[Hit], tuple[int, bytes]], int], None]]:
    """Let a system call of the box answer what a test says: (value, bytes written to an argument)."""
    with ExitStack() as stack:

        def begin(name: str, answer: Callable[[Hit], tuple[int, bytes]], argument: int = _SI) -> None:
            def entered(hit: Hit) -> None:
                value, data = answer(hit)
                if data:
                    hit.write(int.from_bytes(hit.read(hit.args[0] + argument, 8), "little"), data)
                hit.skip(value)

            stack.enter_context(box.probe(f"__x64_sys_{name}", entered))

        yield begin


def entry(name: bytes, length: int | None = None) -> bytes:
    """One entry of getdents64(2)."""
    size = (19 + len(name) + 8) & ~7
    return struct.pack("<QqHB", 7, 1, size if length is None else length, 8) + name.ljust(size - 19, b"\0")


def listing(box: Box, name: bytes) -> Callable[[Hit], tuple[int, bytes]]:
    """An answer to getdents64 with one name, then the end, again and again."""
    data, turns = entry(name), iter(range(1 << 30))
    return lambda hit: (len(data), data) if next(turns) % 2 == 0 else (0, b"")


# -- names --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["../outside/x", "../../outside/x", "a/b", "/", "//x", "/tmp/kobox-absolute", "..//x", "./x", "x/", "x/..", ""],
)
def test_a_forged_name_is_refused(box: Box, out: Path, forge: Callable[..., None], name: str) -> None:
    box.files.mkdir("/tmp/d")
    box.write_bytes("/tmp/x", b"owned")
    forge("getdents64", listing(box, name.encode()))
    with pytest.raises(OSError, match=r"no file name|lists an entry") as caught:
        box.files.copy_out("/tmp/d", out / "d")
    assert caught.value.errno == errno.EIO
    assert os.listdir(out / "d") == []


def test_a_module_that_answers_for_the_kernel_writes_nothing_outside(
    box: Box, modules: BuiltTestModules, out: Path
) -> None:
    box.files.mkdir("/tmp/d")
    victim = out.parent / "outside" / "pwned"
    for directory in [*reversed(victim.parents)][1:]:
        box.path(str(directory)).mkdir(exist_ok=True)
    box.write_bytes(str(victim), b"#!/bin/sh\n")
    box.insmod(modules("attacks"), attack="getdents", text="../" * 20 + str(victim).lstrip("/"))
    with pytest.raises(OSError, match="no file name"):
        box.files.copy_out("/tmp/d", out / "d")


@pytest.mark.parametrize(
    "data",
    [
        entry(b"x", 0),
        entry(b"x", 1),
        entry(b"x", 19),
        entry(b"x", 0xFFFF),
        entry(b"x", 40),
        entry(b"x")[:18],
        entry(b"a") + entry(b"b")[:10],
        b"\xff" * 64,
        bytes(64),
        entry(b"a/b"),
    ],
)
def test_forged_directory_entries_are_an_error_and_end(data: bytes) -> None:
    with pytest.raises(OSError, match="the box lists") as caught:
        list(parse_dirents(data))
    assert caught.value.errno == errno.EIO


def test_names_that_are_names() -> None:
    assert list(parse_dirents(entry(b".") + entry(b"..") + entry(b"\xff") + entry(b"...") + entry(b" "))) == [
        "\udcff",
        "...",
        " ",
    ]
    assert is_file_name("a\nb")
    assert not is_file_name("a\0")


def test_a_directory_without_end_ends(box: Box, out: Path, forge: Callable[..., None]) -> None:
    data = entry(b"x") * 300
    forge("getdents64", lambda hit: (len(data), data))
    with pytest.raises(OSError, match="names") as caught:
        box.listdir("/tmp")
    assert caught.value.errno == errno.E2BIG


# -- links --------------------------------------------------------------------------------------------------------


def test_a_link_of_a_first_copy_is_not_followed_by_a_second(box: Box, out: Path) -> None:
    outside = out.parent / "outside"
    box.files.mkdir("/tmp/d")
    box.syscall("symlink", str(outside), "/tmp/d/x")
    box.files.copy_out("/tmp/d", out / "d")
    assert (out / "d/x").readlink() == outside
    box.files.unlink("/tmp/d/x")
    box.files.mkdir("/tmp/d/x")
    box.write_bytes("/tmp/d/x/pwned", b"owned")
    for source, target in (("/tmp/d", out), ("/tmp/d/x", out / "d/x"), ("/tmp/d/x/pwned", out / "d/x/pwned")):
        with pytest.raises(BoxError, match="is a symbolic link") as caught:
            box.files.copy_out(source, target)
        assert str(outside) in caught.value.hint
    box.files.copy_out("/tmp/d/x/pwned", out / "d/x")  # a file takes the place of the link itself
    assert (out / "d/x").read_bytes() == b"owned"
    assert not (out / "d/x").is_symlink()


def test_a_link_replaces_a_file_and_a_file_a_link(box: Box, out: Path) -> None:
    (out / "f").write_text("mine")
    (out / "l").symlink_to(out.parent / "outside/new")
    box.write_bytes("/tmp/l", b"content")
    box.syscall("symlink", "nowhere", "/tmp/f")
    box.files.copy_out("/tmp/f", out)
    box.files.copy_out("/tmp/l", out)
    assert (out / "f").readlink() == Path("nowhere")
    assert (out / "l").read_bytes() == b"content"
    assert not (out / "l").is_symlink()


@pytest.mark.parametrize("text", [b"", b"a\0b", b"x" * 5000])
def test_a_forged_link_is_refused(box: Box, out: Path, forge: Callable[..., None], text: bytes) -> None:
    box.syscall("symlink", "here", "/tmp/l")
    forge("readlink", lambda hit: (len(text), text[:4096]))
    with pytest.raises((BoxError, OSError), match="the box answers"):
        box.files.copy_out("/tmp/l", out / "l")
    assert os.listdir(out) == []


def test_a_path_that_leads_through_a_link_of_the_user_s_is_named_with_its_target(box: Box, out: Path) -> None:
    (out / "real").mkdir()
    (out / "link").symlink_to("real")
    box.write_bytes("/tmp/f", b"x")
    with pytest.raises(BoxError, match="is a symbolic link") as caught:
        box.files.copy_out("/tmp/f", out / "link" / "f")
    assert caught.value.hint.endswith(str(out / "real"))
    box.files.copy_out("/tmp/f", out / "real" / "f")


# -- modes, types, counts, sizes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inside", "outside"),
    [
        (0o6755, 0o755),
        (0o4711, 0o711),
        (0o2777, 0o755),
        (0o1666, 0o644),
        (0o000, 0o600),
        (0o777, 0o755),
        (0o4000, 0o600),
    ],
)
def test_no_set_user_id_and_no_writing_for_others(box: Box, out: Path, inside: int, outside: int) -> None:
    box.write_bytes("/tmp/f", b"#!/bin/sh\n")
    box.syscall("chmod", "/tmp/f", inside)
    box.files.copy_out("/tmp/f", out / "f")
    assert stat.S_IMODE((out / "f").stat().st_mode) == outside


def test_directories_get_no_hostile_modes(box: Box, out: Path) -> None:
    box.files.mkdir("/tmp/d")
    box.syscall("chmod", "/tmp/d", 0o7777)
    box.files.copy_out("/tmp/d", out)
    assert stat.S_IMODE((out / "d").stat().st_mode) == 0o777 & ~_umask()


def test_devices_sockets_and_fifos_are_left_out(box: Box, out: Path) -> None:
    box.files.mkdir("/tmp/d")
    box.files.mknod("/tmp/d/null", stat.S_IFCHR | 0o666, (1, 3))
    box.files.mknod("/tmp/d/disk", stat.S_IFBLK | 0o666, (8, 0))
    box.files.mknod("/tmp/d/fifo", stat.S_IFIFO | 0o666)
    box.files.mknod("/tmp/d/socket", stat.S_IFSOCK | 0o666)
    box.write_bytes("/tmp/d/file", b"1")
    box.files.copy_out("/tmp/d", out)
    assert os.listdir(out / "d") == ["file"]


@pytest.mark.parametrize("mode", [0, 0o777, 0xFFFFFFFF, stat.S_IFLNK | stat.S_IFDIR, 0xF000 | 0o4777])
def test_types_that_are_none_make_no_file(box: Box, out: Path, forge: Callable[..., None], mode: int) -> None:
    box.write_bytes("/tmp/f", b"x")
    facts = struct.pack("<QQQIIIIQqqq6Q", 1, 2, 1, mode, 0, 0, 0, 0, -1, 1 << 40, -1, *[2**64 - 1] * 6)
    forge("newlstat", lambda hit: (0, facts))
    box.files.copy_out("/tmp/f", out / "f")
    assert os.listdir(out) == []


@pytest.mark.parametrize("value", [1 << 40, 2**63 - 1, (1 << 19) + 1])
def test_a_read_that_answers_more_than_was_asked_for_is_an_error(
    box: Box, out: Path, forge: Callable[..., None], value: int
) -> None:
    box.write_bytes("/tmp/f", b"x")
    forge("read", lambda hit: (value, b""))
    for read in (
        lambda: box.files.copy_out("/tmp/f", out / "f"),
        lambda: box.read_bytes("/tmp/f"),
        lambda: _read_ten(box),
    ):
        with pytest.raises(OSError, match="were asked for") as caught:
            read()
        assert caught.value.errno == errno.EIO
    assert os.listdir(out) == []


def test_a_file_without_end_passes_the_limit_and_leaves_nothing(
    box: Box, out: Path, forge: Callable[..., None]
) -> None:
    box.write_bytes("/tmp/f", b"x")
    forge("read", lambda hit: (1 << 19, b""))
    with pytest.raises(BoxError, match="more than 8388608 bytes"):
        copy_out(box, "/tmp/f", out / "f", limits=CopyLimits(size=8 << 20))
    assert os.listdir(out) == []


def test_a_file_without_end_is_not_read_into_memory(
    box: Box, forge: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kobox.box.guest.files.MOST_READ", 1 << 20)
    box.write_bytes("/tmp/f", b"x")
    forge("read", lambda hit: (1 << 16, b""))
    with pytest.raises(OSError, match="read it in pieces") as caught:
        box.read_bytes("/tmp/f")
    assert caught.value.errno == errno.EFBIG


def test_directories_in_directories_without_end_pass_the_limit(box: Box, out: Path, forge: Callable[..., None]) -> None:
    box.files.mkdir("/tmp/d")
    facts = struct.pack("<QQQIIIIQqqq6Q", 1, 2, 1, stat.S_IFDIR | 0o755, *[0] * 13)
    forge("newlstat", lambda hit: (0, facts))
    forge("open", lambda hit: (3, b""))
    forge("close", lambda hit: (0, b""))
    forge("getdents64", listing(box, b"d"))
    with pytest.raises(BoxError, match="9 directories within each other"):
        copy_out(box, "/tmp/d", out / "d", limits=CopyLimits(depth=8))


def test_too_many_entries_pass_the_limit(box: Box, out: Path) -> None:
    box.files.mkdir("/tmp/d")
    for number in range(5):
        box.write_bytes(f"/tmp/d/{number}", b"")
    with pytest.raises(BoxError, match="more than 4 entries"):
        copy_out(box, "/tmp/d", out / "d", limits=CopyLimits(entries=4))


@pytest.mark.parametrize("value", [0, 100, 1 << 62])
def test_a_write_that_cannot_be_ends(box: Box, out: Path, forge: Callable[..., None], value: int) -> None:
    (out / "f").write_bytes(b"12345678")
    forge("write", lambda hit: (value, b""))
    with pytest.raises(OSError, match="wrote"):
        box.files.copy_in(out / "f", "/tmp/f")
    with pytest.raises(OSError, match="wrote"):
        box.write_bytes("/tmp/f", b"12345678")


def test_the_bounds() -> None:
    assert answered(5, 5) == 5
    assert written(5, 5) == 5
    for wrong in (lambda: answered(6, 5), lambda: written(0, 5), lambda: written(6, 5), lambda: written(None, 5)):
        with pytest.raises(OSError, match="the box answers"):
            wrong()


# -- what is right ------------------------------------------------------------------------------------------------


def test_where_a_copy_goes(box: Box, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box.files.mkdir("/tmp/d")
    box.write_bytes("/tmp/d/f", b"x")
    box.files.copy_out("/tmp/d/.", out)
    box.files.copy_out("/tmp/d", out / "new")
    monkeypatch.chdir(out)
    box.files.copy_out("/tmp/d/f", "here")
    box.files.copy_out("/tmp/d", "./in/../there/" if (out / "in").exists() else "there")
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*")) == [
        *("d", "d/f", "here", "new", "new/f", "there", "there/f"),
    ]
    with pytest.raises(FileNotFoundError, match="nowhere"):
        box.files.copy_out("/tmp/d/f", out / "nowhere/f")
    with pytest.raises(FileNotFoundError):
        box.files.copy_out("/tmp/absent", out / "absent")


def _read_ten(box: Box) -> bytes:
    with box.open("/tmp/f", "rb") as file:
        return bytes(file.read(10))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
