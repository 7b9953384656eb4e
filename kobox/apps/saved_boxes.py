"""Boxes that `kobox shell --save` has kept: listed, removed, and carried from machine to machine as one file.

    NAME.box   a tar archive, compressed with zstd: kernel (the name of its kernel), digest (of its vmlinuz), about,
               state, ram, symbols, btf (`kobox.box.boot.snapshots`)

The file holds the state of an emulated CPU, which is loaded as it is: take one only from people whose programs you
would run.
"""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import zstandard

from kobox.apps.rootfs import saved_place
from kobox.atomic_directory import atomic_directory
from kobox.atomic_file import atomic_file, errors_name, write_file
from kobox.errors import KernelNotFoundError, KoboxError
from kobox.images.store import Store

_FILES = ("about", "state", "ram", "symbols", "btf")
_MOST = 64 << 30  # bytes of one file of a box
_CHUNK = 1 << 20
_BAD = "Export the box again with `kobox box export`."


@dataclass(frozen=True, slots=True)
class SavedBox:
    """A box in the cache. `size`: bytes on disk; `saved`: seconds since 1970."""

    name: str
    kernel: str
    size: int
    saved: float


def saved_boxes(store: Store) -> list[SavedBox]:
    """The boxes that were saved, by name."""
    found = []
    with suppress(FileNotFoundError):
        for place in sorted((store.root / "saved").glob("[!.]*")):  # what is being imported begins with a dot
            with suppress(OSError):
                kernel = (place / "kernel").read_text()
                size = sum(file.stat().st_blocks * 512 for file in place.iterdir())
                found.append(SavedBox(place.name, kernel, size, (place / "about").stat().st_mtime))
    return found


def remove_box(store: Store, name: str) -> None:
    """Remove a saved box. Raises `KoboxError` where there is none."""
    shutil.rmtree(_existing(store, name))


def export_box(store: Store, name: str, file: Path) -> None:
    """Write a saved box into one file. Raises `KoboxError` where there is none; `OSError`."""
    place = _existing(store, name)
    kernel = store.get((place / "kernel").read_text())
    with (
        atomic_file(file, mode=0o644) as out,
        zstandard.ZstdCompressor(level=6).stream_writer(out, closefd=False) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        for member, text in (("kernel", kernel.name), ("digest", kernel.digest)):
            _add(archive, member, io.BytesIO(text.encode()), len(text.encode()))
        for member in _FILES:
            with suppress(FileNotFoundError), open(place / member, "rb") as source:
                _add(archive, member, source, os.fstat(source.fileno()).st_size)


def import_box(store: Store, file: Path, name: str | None = None) -> SavedBox:
    """Put a box from a file into the cache, under its file's name or `name`.

    Raises `KoboxError` when the file is no exported box, the name is taken, or the cache lacks the box's kernel.
    """
    name = name or file.name.removesuffix(".box")
    target = saved_place(store, name)
    if target.exists():
        raise KoboxError(f"a box {name!r} is saved already", hint="Give another name with --name.")
    with atomic_directory(target) as aside:
        with open(file, "rb") as source:
            facts = _unpack(source, aside, file)
        kernel = facts.get("kernel", "")
        try:
            image = store.get(kernel)
        except KernelNotFoundError as error:
            hint = f"`kobox kernel add debian:{kernel}`, or add the kernel that the box was saved with."
            raise KoboxError(f"{file}: its kernel {kernel} is not in the cache", hint=hint) from error
        if image.digest != facts.get("digest"):
            raise KoboxError(
                f"{file}: saved with another kernel of the name {kernel}", hint=f"Here it is {image.digest}."
            )
        write_file(aside / "kernel", image.name.encode(), mode=0o644)
    return next(box for box in saved_boxes(store) if box.name == name)


def _existing(store: Store, name: str) -> Path:
    place = saved_place(store, name)
    if not (place / "kernel").is_file():
        known = ", ".join(box.name for box in saved_boxes(store)) or "none"
        raise KoboxError(f"no box was saved as {name!r}", hint=f"Saved are: {known}.")
    return place


def _add(archive: tarfile.TarFile, name: str, source: IO[bytes], size: int) -> None:
    member = tarfile.TarInfo(name)
    member.size = size
    archive.addfile(member, source)


def _unpack(source: IO[bytes], into: Path, file: Path) -> dict[str, str]:
    """Unpack the members that a box has, and no other, into a directory; its kernel's name and digest."""
    facts: dict[str, str] = {}
    try:
        with (
            zstandard.ZstdDecompressor().stream_reader(source) as plain,
            tarfile.open(fileobj=plain, mode="r|") as archive,
        ):
            for member in archive:
                data = archive.extractfile(member) if member.isreg() else None
                if data is None or not 0 <= member.size <= _MOST:
                    continue
                if member.name in ("kernel", "digest"):
                    facts[member.name] = data.read(256).decode("ascii", "replace")
                elif member.name in _FILES:
                    _write_sparse(data, into / member.name, member.size)
    except (tarfile.TarError, zstandard.ZstdError, EOFError) as error:
        raise KoboxError(f"{file}: not a saved box, or cut short ({error})", hint=_BAD) from error
    missing = {"kernel", "digest"} - facts.keys() or {"about", "state", "ram"} - set(os.listdir(into))
    if missing:
        raise KoboxError(f"{file}: not a saved box: it has no {', '.join(sorted(missing))}", hint=_BAD)
    return facts


def _write_sparse(data: IO[bytes], path: Path, size: int) -> None:
    """Write a file; pages of zeros become holes."""
    with errors_name(path), open(path, "wb") as out:
        while chunk := data.read(_CHUNK):
            for at in range(0, len(chunk), 4096):
                page = chunk[at : at + 4096]
                if page.count(0) == len(page):
                    out.seek(len(page), os.SEEK_CUR)
                else:
                    out.write(page)
        out.truncate(size)
