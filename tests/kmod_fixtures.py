"""Fixtures over real module trees and the real kmod, for the tests of kobox.ko and kobox.kmod."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from kobox.cli.main import run as run_command
from tests.debian import Kmod, Suite

CLOUD = ("bookworm", "amd64", r"linux-image-6\.1\.0-\d+-cloud-amd64")
CLOUD_XZ = ("trixie", "amd64", r"linux-image-6\.12\.\d+\+deb13-cloud-amd64")
CLOUD_ARM64 = ("trixie", "arm64", r"linux-image-6\.12\.\d+\+deb13-cloud-arm64")
S390X = ("bookworm", "s390x", r"linux-image-6\.1\.0-\d+-s390x")
ARMHF = ("bookworm", "armhf", r"linux-image-6\.1\.0-\d+-armmp")


class Answer(NamedTuple):
    """What a tool answered."""

    status: int
    output: str
    errors: str


class Tree(NamedTuple):
    """A module tree: `root`/lib/modules/`release`."""

    root: Path
    release: str

    @property
    def path(self) -> Path:
        return self.root / "lib" / "modules" / self.release


def packaged_tree(suite: str, architecture: str, pattern: str) -> Path:
    """The tree in a package of Debian, as it was unpacked; not to be changed."""
    place = Suite(suite, architecture)
    package = place.package(place.newest(pattern))
    (tree,) = [*package.glob("lib/modules/*"), *package.glob("usr/lib/modules/*")]
    return tree


def link_tree(source: Path, root: Path, *, only: Callable[[str], bool] = lambda path: True) -> Tree:
    """A tree that may be changed: its directories are real, its files links to those of `source`."""
    target = Tree(root, source.name)
    for folder, _, names in os.walk(source):
        inner = Path(folder).relative_to(source)
        for name in names:
            if only(str(inner / name)):
                (target.path / inner).mkdir(parents=True, exist_ok=True)
                (target.path / inner / name).symlink_to(Path(folder, name))
    return target


def kobox(tool: str, *arguments: str | Path, environment: dict[str, str] | None = None) -> Answer:
    """Run one of kobox's tools in this process, as the command line does."""
    output, errors = io.TextIOWrapper(io.BytesIO(), "utf-8", "surrogateescape"), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MODPROBE_OPTIONS", raising=False)
        for name, value in (environment or {}).items():
            patch.setenv(name, value)
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            status = run_command(tool, [os.fspath(argument) for argument in arguments], prog=tool)
            sys.stdout.flush()
    text = output.buffer.getvalue().decode("utf-8", "surrogateescape")  # type: ignore[attr-defined]
    return Answer(status, text, errors.getvalue())


@pytest.fixture(scope="session")
def kmod() -> Callable[..., Answer]:
    """The real kmod 34.2: `kmod("modprobe", "-D", "btrfs")`."""
    real = Kmod()

    def run(tool: str, *arguments: str | Path, environment: dict[str, str] | None = None) -> Answer:
        done = real.run(tool, *arguments, env=environment)
        return Answer(
            done.returncode,
            done.stdout.decode("utf-8", "surrogateescape"),
            done.stderr.decode("utf-8", "surrogateescape"),
        )

    return run


@pytest.fixture(scope="session")
def cloud_package() -> Path:
    """The tree of Debian 12's cloud kernel, 1,121 plain modules, without indexes."""
    return packaged_tree(*CLOUD)


@pytest.fixture(scope="session")
def cloud(cloud_package: Path, kmod: Callable[..., Answer], tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """That tree with the indexes that the real depmod makes; not to be changed."""
    tree = link_tree(cloud_package, tmp_path_factory.mktemp("cloud"))
    assert kmod("depmod", "-b", tree.root, tree.release).status == 0
    return tree


@pytest.fixture(scope="session")
def cloud_one_softdep(
    cloud_package: Path, kmod: Callable[..., Answer], tmp_path_factory: pytest.TempPathFactory
) -> Tree:
    """The same, but with one softdep line a module: kmod heeds only the first, kobox all of them."""
    tree = link_tree(cloud_package, tmp_path_factory.mktemp("cloud-one-softdep"))
    assert kmod("depmod", "-b", tree.root, tree.release).status == 0
    path = tree.path / "modules.softdep"
    first: dict[str, str] = {}
    for line in path.read_text().splitlines():
        first.setdefault(line.split()[1], line)
    path.write_text("\n".join(first.values()) + "\n")
    return tree


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """depmod's cache of a test is its own; packages stay in the cache that is kept between runs."""
    monkeypatch.setattr("kobox.kmod.index.facts_cache.cache_root", lambda: str(tmp_path_factory.mktemp("depmod-cache")))
