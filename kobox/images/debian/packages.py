"""Debian's packages for the user space of a box: fetched like kernels, unpacked in the cache, never installed.

    ROOT/packages/2/SUITE/NAME_VERSION/   one package, unpacked, with its manual pages and no other documentation
    ROOT/packages/2/SUITE/closures.json   what each name that was asked for needs: {name: [NAME_VERSION …]};
                                          "=name" is a package that was asked for without its dependencies
    ROOT/packages/2/SUITE/merged/KEY/     several packages in one tree, of hard links

The suite is this machine's own, so that its programs and the packages' fit together; programs that bring their own
loader and libraries may come from another one. What was fetched once is there without network; `refresh` asks the
archive again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from kobox.atomic_file import write_file
from kobox.errors import FetchError
from kobox.images.debian.suite import port_suite
from kobox.images.store import Progress, Store

if TYPE_CHECKING:
    from kobox.images.debian.archive import Archive, ArchivePackage

_DEFAULT_PORT = "amd64"
_FORMAT = "2"  # of what is kept of a package
# What packages depend on for being installed and configured, and no program of theirs needs to run.
_NOT_NEEDED = frozenset(
    {"debconf", "perl-base", "dpkg", "gcc-12-base", "gcc-14-base", "install-info", "init-system-helpers"}
)
_DEAD_WEIGHT = (
    "usr/share/doc",
    "usr/share/man/[!m]*",  # translations; English stands in man1 to man8
    "usr/share/locale",
    "usr/share/lintian",
    "usr/share/info",
    "usr/share/bug",
    "usr/share/bash-completion",
    "usr/share/zsh",
    "usr/lib/*/gconv",
    "usr/lib/*/audit",
    "usr/lib/locale",
    "usr/share/i18n",
)


def packages(
    store: Store,
    names: Iterable[str],
    progress: Progress | None = None,
    *,
    refresh: bool = False,
    port: str = _DEFAULT_PORT,
    suite: str | None = None,
    alone: bool = False,
) -> list[Path]:
    """The unpacked packages of these names and of all that they depend on, fetched where they are not there yet.

    `port` is Debian's name of the architecture that their programs are for; `suite` is one of Debian's, None for this
    machine's. `alone` leaves out what the packages depend on.

    Raises `FetchError` when there is no such package, or it cannot be fetched.
    """
    wanted = [f"={name}" if alone else name for name in dict.fromkeys(names)]
    place = _place(store, port, suite)
    known = {} if refresh else _known(place)
    if any(name not in known or not all((place / one).is_dir() for one in known[name]) for name in wanted):
        known = _fetch(store, place, (suite, port), wanted, progress or (lambda *_: None))
    return [place / one for one in dict.fromkeys(one for name in wanted for one in known[name])]


def merged(store: Store, trees: Iterable[Path], *, port: str = _DEFAULT_PORT) -> Path:
    """One directory that holds what unpacked packages hold, as hard links: a few MB of directories.

    Raises `OSError` where the cache cannot be written.
    """
    import hashlib
    import shutil

    wanted = sorted(trees)
    key = hashlib.sha256("\n".join(tree.name for tree in wanted).encode()).hexdigest()[:16]
    target = _place(store, port) / "merged" / key
    if target.is_dir():
        return target
    with store.locked(None):
        if target.is_dir():
            return target
        aside = target.with_name(f".{key}")
        shutil.rmtree(aside, ignore_errors=True)
        for tree in wanted:
            shutil.copytree(tree, aside, symlinks=True, copy_function=_link_or_keep, dirs_exist_ok=True)
        aside.rename(target)
    return target


def _link_or_keep(source: str, target: str) -> str:
    """Link a file of one package; of two packages that have it, the first has it."""
    with suppress(FileExistsError):
        os.link(source, target, follow_symlinks=False)
    return target


def _place(store: Store, port: str, suite: str | None = None) -> Path:
    suite = suite or port_suite(port)
    return store.root / "packages" / _FORMAT / (suite if port == _DEFAULT_PORT else f"{suite}-{port}")


def _known(place: Path) -> dict[str, list[str]]:
    try:
        found: dict[str, list[str]] = json.loads((place / "closures.json").read_bytes())
        return found
    except (FileNotFoundError, ValueError):
        return {}


def _fetch(
    store: Store, place: Path, source: tuple[str | None, str], names: list[str], progress: Progress
) -> dict[str, list[str]]:
    """`source` is the suite and the architecture."""
    from kobox.images.debian.archive import Archive

    with store.locked(progress):
        suite, port = source
        archive = Archive.of_suite(suite, store.root / "apt", port)
        archive.update(progress)
        place.mkdir(parents=True, exist_ok=True)
        known = _known(place)
        for name in names:
            closure = _closure(archive, name, progress)
            lacking = [one for one in closure if not (place / _directory(one)).is_dir()]
            for one, deb in zip(lacking, archive.download(lacking, progress) if lacking else (), strict=True):
                _unpack(archive, one, deb, place, progress)
            known[name] = [_directory(one) for one in closure]
            write_file(place / "closures.json", json.dumps(known, indent=1).encode(), mode=0o644)
        archive.clean()
        return known


def _closure(archive: Archive, name: str, progress: Progress) -> list[ArchivePackage]:
    """The packages that a name of closures.json stands for. Raises `FetchError`."""
    if name.startswith("="):
        if found := archive.show([name[1:]]).get(name[1:]):
            return [found]
        raise FetchError(f"Debian {archive.suite} has no package {name[1:]}")
    progress(f"finding what {name} needs", 0, 0)
    return [one for one in archive.needed_by(name) if one.name not in _NOT_NEEDED]


def _directory(package: ArchivePackage) -> str:
    return f"{package.name}_{package.version.replace(':', '%3a')}"


def _unpack(archive: Archive, package: ArchivePackage, deb: Path, place: Path, progress: Progress) -> None:
    import shutil

    aside = place / f".{_directory(package)}"
    shutil.rmtree(aside, ignore_errors=True)
    try:
        archive.unpack([deb], aside, progress)
        for pattern in _DEAD_WEIGHT:
            for path in aside.glob(pattern):
                shutil.rmtree(path, ignore_errors=True)
        _link_alternatives(deb, aside)
        aside.rename(place / _directory(package))
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _link_alternatives(deb: Path, tree: Path) -> None:
    """What a package's script would have update-alternatives(1) link: of several the one of the highest priority.

    The script is read and never run: `--install LINK NAME PATH PRIORITY`, then any number of `--slave LINK NAME PATH`.
    """
    import subprocess

    shown = subprocess.run(["dpkg-deb", "-I", str(deb), "postinst"], capture_output=True, check=False)
    script = shown.stdout.decode(errors="replace").replace("\\\n", " ")
    chosen: dict[str, tuple[int, str]] = {}
    for line in script.splitlines():
        words = line.split()
        if "update-alternatives" not in words:
            continue
        priority = 0
        for at, word in enumerate(words):
            if word == "--install" and len(words) > at + 4 and words[at + 4].lstrip("-").isdigit():
                priority = int(words[at + 4])
            elif word != "--slave" or len(words) <= at + 3:
                continue
            link, path = words[at + 1], words[at + 3]
            if priority >= chosen.get(link, (-1, ""))[0] and (tree / path.lstrip("/")).exists():
                chosen[link] = priority, path
    for link, (_, path) in chosen.items():
        place = tree / link.lstrip("/")
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(path)
