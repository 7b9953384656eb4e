"""modinfo beside the real modinfo 34.2."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kmod.module_maker import make_module
from tests.kmod_fixtures import CLOUD_XZ, S390X, Answer, Tree, kobox, packaged_tree

Kmod = Callable[..., Answer]


def test_every_module_of_a_tree_is_described_alike(cloud: Tree, kmod: Kmod) -> None:
    paths = sorted(map(str, cloud.path.rglob("*.ko")))[::3]
    assert len(paths) > 300
    assert kobox("modinfo", *paths) == kmod("modinfo", *paths)


@pytest.mark.parametrize("package", [CLOUD_XZ, S390X], ids=["xz", "big-endian"])
def test_modules_of_other_trees_are_described_alike(package: tuple[str, str, str], kmod: Kmod) -> None:
    paths = sorted(map(str, packaged_tree(*package).rglob("*.ko*")))[::25]
    assert kobox("modinfo", *paths) == kmod("modinfo", *paths)


@pytest.mark.parametrize(
    "arguments",
    [
        ("dummy",),
        ("-0", "dummy"),
        ("-F", "parm", "btrfs", "dummy", "loop"),
        ("-F", "parmtype", "loop"),
        ("-F", "alias", "-0", "btrfs"),
        ("-F", "sig_key", "btrfs"),
        ("-n", "fs-btrfs", "i8042"),
        ("-p", "i8042"),
        ("-a", "loop"),
        ("-l", "loop"),
        ("-d", "ext4"),
        ("-d", "-n", "loop"),
        ("-m", "loop"),
        ("i8042",),
        ("ext4",),
        ("fs-ext4",),
        ("loop", "-F", "license"),
        ("--field=vermagic", "loop"),
    ],
)
def test_output_and_status_are_kmods(cloud: Tree, kmod: Kmod, arguments: tuple[str, ...]) -> None:
    base = ("-b", str(cloud.root), "-k", cloud.release)
    assert kobox("modinfo", *base, *arguments) == kmod("modinfo", *base, *arguments)


@pytest.mark.parametrize("arguments", [(), ("nosuch",), ("/nonexistent.ko",), ("-n", "loop", "nosuch", "tun"), ("-Q",)])
def test_errors_begin_as_kmods_do(cloud: Tree, kmod: Kmod, arguments: tuple[str, ...]) -> None:
    base = ("-b", str(cloud.root), "-k", cloud.release)
    ours, theirs = (tool("modinfo", *base, *arguments) for tool in (kobox, kmod))
    assert (ours.status, ours.output) == (theirs.status, theirs.output)
    assert ours.errors.splitlines()[0] == theirs.errors.splitlines()[0]


MARKER = b"~Module signature appended~\n"


def signed(signer: bytes, key: bytes, signature: bytes, *, algorithm: int = 1, digest: int = 4, kind: int = 1) -> bytes:
    """A module with a signature as kernels before 4.3 have it: include/linux/module_signature.h."""
    trailer = struct.pack(">BBBBB3xI", algorithm, digest, kind, len(signer), len(key), len(signature))
    return make_module() + signer + key + signature + trailer + MARKER


@pytest.mark.parametrize(
    "content",
    [
        signed(b"Magrathea: Glacier signing key", bytes(range(20)), bytes(range(256))),
        signed(b"", b"", b"\1"),
        signed(b"name", b"\xff", bytes(20), digest=2),
        signed(b"name\0more", b"\0\1", bytes(21), digest=8),
        signed(b"pgp", b"12345678", bytes(40), kind=0, digest=0),
        signed(b"x", b"y", b"z", digest=9),
        signed(b"x", b"y", b"z", kind=3),
        *(signed(b"x", b"y", b"z", digest=digest) for digest in (1, 3, 5, 6, 7)),
    ],
)
@pytest.mark.parametrize("options", [(), ("-F", "signer"), ("-F", "sig_key"), ("-F", "sig_hashalgo"), ("-F", "sig_id")])
def test_signatures_that_are_no_pkcs7_message(
    content: bytes, options: tuple[str, ...], kmod: Kmod, tmp_path: Path
) -> None:
    path = tmp_path / "m.ko"
    path.write_bytes(content)
    assert kobox("modinfo", *options, path) == kmod("modinfo", *options, path)


@pytest.mark.parametrize("options", [(), ("-p",), ("-F", "parm"), ("-F", "parmtype"), ("-0",), ("-p", "-0")], ids=str)
@pytest.mark.parametrize(
    "info",
    [
        ["parmtype=nousb:bool"],
        ["parm=a:text", "parmtype=a:int", "parmtype=b:uint", "parm=c:only text"],
        ["parm=a:", "parmtype=a:int", "parm=b:", "parmtype=c:"],
        ["parm=odd", "parmtype=odd too", "parm=a:b:c"],
        ["parm=a:one", "parm=b:two", "parm=a:three", "parmtype=b:x", "parmtype=b:y"],
    ],
)
def test_parameters_with_and_without_description(
    info: list[str], options: tuple[str, ...], kmod: Kmod, tmp_path: Path
) -> None:
    path = tmp_path / "m.ko"
    path.write_bytes(make_module(info=["license=GPL", *info, "name=m"]))
    assert kobox("modinfo", *options, path) == kmod("modinfo", *options, path)


@pytest.mark.parametrize("strings", [None, "", "other.license=GPL\0", "old.license=GPL\0old.parmtype=x:int\0"])
@pytest.mark.parametrize(
    "options", [(), ("-n",), ("-F", "name"), ("-F", "license"), ("-p",), ("-0",), ("-m",)], ids=str
)
def test_built_in_modules_of_trees_that_say_little_of_them(
    strings: str | None, options: tuple[str, ...], kmod: Kmod, tmp_path: Path
) -> None:
    """Kernels before 5.2 have no modules.builtin.modinfo."""
    tree = Tree(tmp_path, "5.1.0")
    tree.path.mkdir(parents=True)
    (tree.path / "modules.builtin").write_text("kernel/fs/old/old.ko\n")
    kmod("depmod", "-b", tree.root, tree.release)
    if strings is not None:
        (tree.path / "modules.builtin.modinfo").write_text(strings)
    words = ("-b", tree.root, "-k", tree.release, *options, "old")
    assert kobox("modinfo", *words) == kmod("modinfo", *words)


def test_the_build_id_is_what_readelf_shows(cloud: Tree) -> None:
    path = next(cloud.path.rglob("loop.ko"))
    shown = subprocess.run(["readelf", "-n", path], capture_output=True, text=True, check=True).stdout
    expected = shown.partition("Build ID: ")[2].split()[0]
    assert len(expected) == 40
    for field in ("build-id", "build_id"):
        assert kobox("modinfo", "-F", field, path).output.replace(":", "").lower() == expected + "\n"
    assert json.loads(kobox("modinfo", "--json", path).output)[0]["build_id"].replace(":", "").lower() == expected
    (bare := cloud.root / "bare.ko").write_bytes(make_module())
    assert kobox("modinfo", "-F", "build-id", bare) == (0, "", "")


@pytest.mark.parametrize("options", [(), ("-n",), ("-F", "alias"), ("--json",)], ids=str)
def test_a_reader_that_has_enough_ends_it_without_a_word(cloud: Tree, options: tuple[str, ...]) -> None:
    paths = sorted(map(str, cloud.path.rglob("*.ko")))[:300]
    command = [str(Path(sys.executable).parent / "kobox"), "modinfo", *options, *paths]
    read, write = os.pipe()
    with subprocess.Popen(command, stdout=write, stderr=subprocess.PIPE, text=True) as process:
        os.close(write)
        assert os.read(read, 8)
        os.close(read)
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode != 0
