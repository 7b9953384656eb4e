"""Packages of every format, made of a kernel that is here, and packages that mean harm."""

from __future__ import annotations

import gzip
import io
import lzma
import struct
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard

import kobox
from kobox.errors import KernelImageError
from kobox.images.package_file import is_package, unpack_kernel
from kobox.images.store import KernelImage, Store

Files = dict[str, bytes | tuple[str, str]]
"""Content by path; a link is ("link" or "hard", target)."""


def xz(data: bytes) -> bytes:
    """Packed quickly: how well does not matter."""
    return lzma.compress(data, preset=0)


def tar_of(files: Files) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.mode = 0o6755
            if isinstance(content, tuple):
                member.type = tarfile.SYMTYPE if content[0] == "link" else tarfile.LNKTYPE
                member.linkname = content[1]
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return made.getvalue()


def deb_of(files: Files, pack: Callable[[bytes], bytes] = xz, name: str = "data.tar.xz") -> bytes:
    made = b"!<arch>\n"
    for member, data in (
        ("debian-binary", b"2.0\n"),
        ("control.tar.xz", lzma.compress(tar_of({}))),
        (name, pack(tar_of(files))),
    ):
        made += (
            f"{member:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)
        )
    return made


def cpio_of(files: Files) -> bytes:
    made = b""
    for number, (name, content) in enumerate([*files.items(), ("TRAILER!!!", b"")], 1):
        link = isinstance(content, tuple)
        data = content[1].encode() if isinstance(content, tuple) else content
        mode = (0o120777 if link else 0o106755) if name != "TRAILER!!!" else 0
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        head = b"070701" + b"".join(f"{field:08x}".encode() for field in fields) + name.encode() + b"\0"
        made += head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)
    return made


def rpm_header(tags: dict[int, bytes]) -> bytes:
    index, store = b"", b""
    for tag, text in tags.items():
        index += struct.pack(">IIII", tag, 6, len(store), 1)
        store += text + b"\0"
    return b"\x8e\xad\xe8\x01" + bytes(4) + struct.pack(">II", len(tags), len(store)) + index + store


def rpm_of(files: Files, pack: Callable[[bytes], bytes] = zstandard.compress, how: bytes = b"zstd") -> bytes:
    made = b"\xed\xab\xee\xdb\x03\x00".ljust(96, b"\0") + rpm_header({1000: b"x"})
    made += bytes(-len(made) % 8)
    return made + rpm_header({1000: b"kernel-core", 1125: how}) + pack(cpio_of(files))


def apk_of(files: Files) -> bytes:
    parts = (tar_of({".SIGN.RSA.x": b"s"}), tar_of({".PKGINFO": b"pkgname = linux-lts"}), tar_of(files))
    return b"".join(gzip.compress(part) for part in parts)


MAKERS: dict[str, Callable[[Files], bytes]] = {
    "a.deb": deb_of,
    "b.deb": lambda files: deb_of(files, zstandard.compress, "data.tar.zst"),
    "c.deb": lambda files: deb_of(files, lambda data: data, "data.tar"),
    "d.rpm": rpm_of,
    "e.rpm": lambda files: rpm_of(files, gzip.compress, b"gzip"),
    "f.rpm": lambda files: rpm_of(files, xz, b"xz"),
    "g.rpm": lambda files: rpm_of(files, lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE, preset=0), b"lzma"),
    "h.pkg.tar.zst": lambda files: zstandard.compress(tar_of(files)),
    "i.apk": apk_of,
    "j.tar.gz": lambda files: gzip.compress(tar_of(files)),
    "k.tar": tar_of,
}


@pytest.fixture(scope="module")
def parts(debian_kernel: KernelImage) -> dict[str, bytes]:
    assert debian_kernel.modules is not None
    found = {name: next(debian_kernel.modules.rglob(f"{name}.ko")).read_bytes() for name in ("loop", "dummy")}
    return {"vmlinuz": debian_kernel.vmlinuz.read_bytes(), **found}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def files_for(layout: str, release: str, parts: dict[str, bytes]) -> Files:
    """The same kernel as distributions lay it out."""
    below = {"debian": "lib/modules", "arch": "usr/lib/modules", "fedora": "lib/modules", "alpine": "./lib/modules"}[
        layout
    ]
    image = {
        "debian": f"./boot/vmlinuz-{release}",
        "arch": f"usr/lib/modules/{release}/vmlinuz",
        "fedora": f"/lib/modules/{release}/vmlinuz",
        "alpine": "boot/vmlinuz-lts",
    }[layout]
    headers = {
        "debian": f"usr/src/linux-headers-{release}",
        "arch": f"usr/lib/modules/{release}/build",
        "fedora": f"usr/src/kernels/{release}",
        "alpine": f"usr/src/linux-headers-{release}",
    }[layout]
    return {
        image: parts["vmlinuz"],
        f"{below}/{release}/kernel/drivers/loop.ko": parts["loop"],
        f"{below}/{release}/kernel/net/dummy.ko.xz": lzma.compress(parts["dummy"], check=lzma.CHECK_CRC32),
        f"{headers}/Makefile": b"all:\n",
        "etc/passwd": b"root::0:0::/:/bin/sh\n",
    }


@pytest.mark.parametrize(
    ("name", "layout"),
    [("b.deb", "debian"), ("d.rpm", "fedora"), ("h.pkg.tar.zst", "arch"), ("i.apk", "alpine"), ("j.tar.gz", "debian")],
)
def test_a_kernel_of_each_distributions_package_boots_and_loads_its_modules(
    name: str, layout: str, debian_kernel: KernelImage, parts: dict[str, bytes], store: Store, tmp_path: Path
) -> None:
    package = tmp_path / name
    package.write_bytes(MAKERS[name](files_for(layout, debian_kernel.release, parts)))
    kernel = store.add(str(package))
    assert (kernel.name, kernel.origin) == (debian_kernel.release, name)
    assert kernel.vmlinuz.read_bytes() == parts["vmlinuz"]
    assert kernel.modules is not None
    assert kernel.headers is not None
    assert not (kernel.directory / "etc").exists()
    assert not any(path.stat().st_mode & 0o7000 for path in kernel.directory.rglob("*") if path.is_file())
    if layout == "arch":
        with kobox.boot(kernel) as box:
            box.modprobe("dummy")
            assert box.path("/sys/module/dummy").exists()


@pytest.mark.parametrize("name", list(MAKERS))
def test_every_format_gives_the_same_files(name: str, tmp_path: Path, parts: dict[str, bytes]) -> None:
    package = tmp_path / name
    files: Files = {
        "boot/vmlinuz-1": parts["vmlinuz"],
        "lib/modules/1/kernel/a.ko": b"a" * 5,
        "lib/modules/1/kernel/empty": b"",
        "lib/modules/1/build": ("link", "/usr/src/headers"),
        "usr/src/headers/Makefile": b"",
    }
    package.write_bytes(MAKERS[name](files))
    assert is_package(package)
    into = tmp_path / "into"
    into.mkdir()
    unpack_kernel([package], into, lambda *_: None)
    assert (into / "lib/modules/1/kernel/a.ko").read_bytes() == b"aaaaa"
    assert (into / "lib/modules/1/kernel/empty").read_bytes() == b""
    assert (into / "lib/modules/1/build/Makefile").exists()
    assert not (into / "lib/modules/1/build").readlink().is_absolute()


def test_the_packages_of_one_kernel_together(
    debian_kernel: KernelImage, parts: dict[str, bytes], store: Store, tmp_path: Path
) -> None:
    release = debian_kernel.release
    (tmp_path / "core.rpm").write_bytes(rpm_of({f"lib/modules/{release}/vmlinuz": parts["vmlinuz"]}))
    (tmp_path / "modules.rpm").write_bytes(rpm_of({f"lib/modules/{release}/kernel/loop.ko": parts["loop"]}))
    with pytest.raises(KernelImageError, match=r"modules\.rpm: no kernel image in it"):
        store.add(str(tmp_path / "modules.rpm"))
    kernel = store.add(str(tmp_path / "core.rpm"), packages=[tmp_path / "modules.rpm"])
    assert kernel.modules is not None
    assert (kernel.modules / "kernel/loop.ko").exists()
    assert [one.name for one in store.list()] == [release]


HARM: dict[str, Files] = {
    "up": {"boot/../../outside": b"x"},
    "up-first": {"../outside": b"x"},
    "link-up": {"lib/modules/1/evil": ("link", "../../../../outside"), "lib/modules/1/evil/x": b"x"},
    "link-absolute": {"boot/evil": ("link", "/../outside"), "boot/evil2": ("link", "/etc/passwd")},
    "write-through-link": {"boot/way": ("link", "/tmp"), "boot/way/outside": b"x"},
    "hard-link-up": {"boot/evil": ("hard", "../../outside")},
    "link-to-itself": {"boot/loop": ("link", "loop")},
    "link-behind-a-link": {
        "usr/src/p/q/r": ("link", "../../../../boot"),
        "usr/src/p/q/r/evil": ("link", "../../../../../boot/x"),
    },
}


@pytest.mark.parametrize("kind", HARM)
@pytest.mark.parametrize("name", ["k.tar", "d.rpm"])
def test_nothing_leaves_the_directory(kind: str, name: str, tmp_path: Path, parts: dict[str, bytes]) -> None:
    files = HARM[kind]
    if name == "d.rpm":
        files = {key: value for key, value in files.items() if not (isinstance(value, tuple) and value[0] == "hard")}
    package, into = tmp_path / name, tmp_path / "a" / "b"
    into.mkdir(parents=True)
    (tmp_path / "outside").write_bytes(b"as it was")
    package.write_bytes(MAKERS[name]({"boot/vmlinuz-1": parts["vmlinuz"], **files}))
    unpack_kernel([package], into, lambda *_: None)
    assert (tmp_path / "outside").read_bytes() == b"as it was"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["a", name, "outside"])
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]
    for path in into.rglob("*"):
        if path.is_symlink() and kind != "link-to-itself":
            assert path.resolve().is_relative_to(into), path


def damaged(name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    yield "cut", data[: len(data) // 2]
    yield "cut-early", data[:300]
    yield "turned", data[:200] + bytes(byte ^ 0x5A for byte in data[200:260]) + data[260:]
    if name.endswith(".rpm"):
        yield "huge-header", data[:104] + b"\xff" * 8 + data[112:]
        yield "unknown", data.replace(b"zstd\0", b"zpaq\0").replace(b"gzip\0", b"zpaq\0")
    if name.endswith(".deb"):
        yield "no-data", data.replace(b"data.tar", b"dada.tar")
        yield "size", data.replace(b"4         `\n", b"x         `\n")


@pytest.mark.parametrize("name", ["a.deb", "d.rpm", "h.pkg.tar.zst", "i.apk", "k.tar"])
def test_a_damaged_package_is_refused_by_name(name: str, tmp_path: Path, store: Store) -> None:
    data = MAKERS[name]({"boot/vmlinuz-1": bytes(range(256)) * 40, "lib/modules/1/kernel/a.ko": b"a" * 900})
    for kind, bad in damaged(name, data):
        package = tmp_path / f"{kind}-{name}"
        package.write_bytes(bad)
        with pytest.raises(KernelImageError) as caught:
            unpack_kernel([package], tmp_path / f"into-{kind}", lambda *_: None)
        assert kind in str(caught.value) or "packed with" in str(caught.value)
        assert str(package) in str(caught.value) or package.name in str(caught.value)
        assert kind not in ("unknown", "no-data") or "a damaged package" not in str(caught.value)
    assert store.list() == []


def test_what_is_no_package(tmp_path: Path, debian_kernel: KernelImage, store: Store) -> None:
    (tmp_path / "text").write_text("a text")
    (tmp_path / "image.gz").write_bytes(gzip.compress(b"an Image"))
    assert [is_package(path) for path in (tmp_path / "text", tmp_path / "image.gz", debian_kernel.vmlinuz)] == [
        False
    ] * 3
    (tmp_path / "two.tar").write_bytes(tar_of({"boot/vmlinuz-1": b"no kernel"}))
    with pytest.raises(KernelImageError, match="no kernel image in it"):
        store.add(str(tmp_path / "two.tar"))
    with pytest.raises(KernelImageError, match="bring their own modules"):
        store.add(str(tmp_path / "two.tar"), modules=tmp_path)
