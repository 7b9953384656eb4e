"""Saved boxes: listed, removed, and carried as one file."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard

from kobox.apps.rootfs import load_saved, save, shell_box
from kobox.apps.saved_boxes import export_box, import_box, remove_box, saved_boxes
from kobox.errors import KoboxError
from kobox.images.store import KernelImage, Store

KOBOX = str(Path(sys.executable).with_name("kobox"))


@pytest.fixture
def saved(debian_kernel: KernelImage) -> Iterator[str]:
    name = f"test-saved-{os.getpid()}"
    with shell_box(debian_kernel) as box:
        box.write_bytes("/root/kept", b"by the teacher\n")
        save(box, name, Store())
    yield name
    for left in saved_boxes(Store()):
        if left.name.startswith(name):
            remove_box(Store(), left.name)


def test_a_box_goes_into_a_file_and_comes_out_of_it(saved: str, tmp_path: Path, debian_kernel: KernelImage) -> None:
    store, file = Store(), tmp_path / "class.box"
    export_box(store, saved, file)
    assert file.stat().st_size < 64 << 20
    assert os.listdir(tmp_path) == ["class.box"]
    brought = import_box(store, file, f"{saved}-again")
    assert brought.kernel == debian_kernel.name
    assert brought.size < 200 << 20  # zeros are holes again
    with load_saved(brought.name, store) as box:
        assert box.read_text("/root/kept") == "by the teacher\n"
        assert box.run(["uname", "-r"], capture_output=True, text=True).stdout == f"{debian_kernel.release}\n"
    with pytest.raises(KoboxError, match="saved already"):
        import_box(store, file, brought.name)


def test_the_commands(saved: str, tmp_path: Path) -> None:
    def kobox(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([KOBOX, "box", *words], capture_output=True, text=True, check=False, cwd=tmp_path)

    assert saved in kobox("list").stdout
    assert kobox("export", saved).returncode == 0
    assert kobox("rm", saved).stdout == f"{saved}: removed\n"
    assert saved not in kobox("list").stdout
    done = kobox("rm", saved)
    assert (done.returncode, "no box was saved" in done.stderr) == (1, True)
    done = kobox("import", f"{saved}.box")
    assert done.stdout == f"{saved}: imported; `kobox shell --load {saved}` goes on with it\n"


def packed(members: dict[str, bytes], link: str = "") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        if link:
            member = tarfile.TarInfo("ram")
            member.type, member.linkname = tarfile.SYMTYPE, link
            archive.addfile(member)
    return zstandard.compress(out.getvalue())


WHOLE = {"kernel": b"no-such-kernel", "digest": b"0", "about": b"{}", "state": b"", "ram": b"\0" * 4096}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lambda: b"not a box", "not a saved box"),
        (lambda: b"", "not a saved box"),
        (lambda: packed(WHOLE)[:-20], "not a saved box"),
        (lambda: packed({"kernel": b"x"}), "it has no"),
        (lambda: packed({**WHOLE, "../../escaped": b"x"}), "is not in the cache"),
        (lambda: packed({name: data for name, data in WHOLE.items() if name != "ram"}, "/etc/passwd"), "it has no ram"),
        (lambda: packed(WHOLE), "its kernel no-such-kernel is not in the cache"),
    ],
    ids=["text", "empty", "cut", "part", "escape", "link", "kernel"],
)
def test_a_file_that_is_no_box(content: Callable[[], bytes], said: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.box"
    file.write_bytes(content())
    store = Store(tmp_path / "cache/kobox")
    with pytest.raises(KoboxError, match=said):
        import_box(store, file)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [file]


@pytest.mark.parametrize("name", ["../x", "", ".hidden", "a/b"])
def test_a_name_that_cannot_be(name: str) -> None:
    with pytest.raises(KoboxError):
        remove_box(Store(), name)


def test_another_kernel_of_the_same_name_is_refused(tmp_path: Path, debian_kernel: KernelImage) -> None:
    file = tmp_path / "other.box"
    file.write_bytes(packed({**WHOLE, "kernel": debian_kernel.name.encode()}))
    with pytest.raises(KoboxError, match="another kernel of the name"):
        import_box(Store(), file)
