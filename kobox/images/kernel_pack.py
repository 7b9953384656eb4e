"""A kernel of the cache as one piece of bytes, for a machine that has none: image, module tree, snapshots.

    tar, packed with zstd: kernel.json, vmlinuz, lib/modules/RELEASE/…, snapshots/KEY/{about,state,ram,…}

Headers are left out: what is built is built where they are. What comes out of a pack becomes part of the cache, and
runs with the rights of whoever boots it: take packs from your own kobox only.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path

from kobox.atomic_file import errors_name
from kobox.errors import KernelImageError
from kobox.images.kernel_image import KernelImage, facts_of, kernel_from
from kobox.json_text import parse_json

_LEVEL = 3
_CHUNK = 1 << 16
_FACTS = "kernel.json"


def pack_kernel(kernel: KernelImage, snapshots: Sequence[str] = ()) -> bytes:
    """The pack of a kernel, with those of its snapshots. Raises `OSError`."""
    import zstandard

    facts = facts_of(kernel) | {"vmlinuz": "vmlinuz", "headers": None}
    facts["modules"] = f"lib/modules/{kernel.release}" if kernel.modules is not None else None
    packed = io.BytesIO()
    with (
        zstandard.ZstdCompressor(level=_LEVEL, threads=-1).stream_writer(packed, closefd=False) as stream,
        tarfile.open(fileobj=stream, mode="w|") as archive,
    ):
        about = json.dumps(facts).encode()
        entry = tarfile.TarInfo(_FACTS)
        entry.size = len(about)
        archive.addfile(entry, io.BytesIO(about))
        archive.add(kernel.vmlinuz.resolve(), "vmlinuz", recursive=False)
        if kernel.modules is not None:
            archive.add(kernel.modules, f"lib/modules/{kernel.release}", filter=_without_headers)
        for name in snapshots:
            archive.add(kernel.directory / "snapshots" / name, f"snapshots/{name}")
    return packed.getvalue()


def unpack_pack(packed: bytes, into: Path) -> KernelImage:
    """Unpack a pack into an empty directory. Raises `KernelImageError` for a damaged one, `OSError`."""
    import zstandard

    try:
        with (
            zstandard.ZstdDecompressor().stream_reader(packed) as stream,
            tarfile.open(fileobj=stream, mode="r|") as archive,
        ):
            for entry in archive:
                _extract(archive, entry, into)
        return kernel_from(parse_json((into / _FACTS).read_bytes()), into)
    except (tarfile.TarError, zstandard.ZstdError, ValueError, KeyError, TypeError, EOFError) as error:
        raise KernelImageError(f"a damaged pack of a kernel: {error}", hint="Pack it again.") from None


def _extract(archive: tarfile.TarFile, entry: tarfile.TarInfo, into: Path) -> None:
    """Unpack one file below a directory, with holes where it is zero: most of a snapshot's RAM is."""
    if not entry.isreg():
        archive.extract(entry, into, filter="data")
        return
    plain = tarfile.data_filter(entry, str(into))
    source = archive.extractfile(entry)
    assert source is not None
    place = into / plain.name
    place.parent.mkdir(parents=True, exist_ok=True)
    with errors_name(place), place.open("xb") as file:
        while chunk := source.read(_CHUNK):
            if chunk.count(0) == len(chunk):
                file.seek(len(chunk), os.SEEK_CUR)
            else:
                file.write(chunk)
        file.truncate(entry.size)


def _without_headers(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """All but the links to the headers, which lead elsewhere."""
    return None if entry.name.rpartition("/")[2] in ("build", "source") else entry
