"""modinfo beside the real modinfo 34.2."""

from __future__ import annotations

from collections.abc import Callable

import pytest

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
