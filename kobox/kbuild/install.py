"""Put modules where modprobe finds them: what `make modules_install` does, into any root directory.

    copy → strip (debug information only) → sign → compress → ROOT/lib/modules/RELEASE/updates/NAME.ko[.xz] → depmod

That order is the only right one: stripping after signing breaks the signature, and compressed bytes are not what is
signed (scripts/Makefile.modinst). RELEASE is that of the module's own version magic.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kobox.atomic_file import errors_name, write_file
from kobox.errors import KoboxError, ModuleFormatError
from kobox.ko.modulefile import ModuleFile
from kobox.ko.name import SUFFIXES, from_path
from kobox.signing.sign import Signer, append, signature_of

COMPRESSIONS = {"": "", "gzip": ".gz", "xz": ".xz", "zstd": ".zst"}


@dataclass(frozen=True, slots=True)
class InstallOptions:
    """`strip` takes debug information off, `signer` signs with `hash_name`, `compress` is one of COMPRESSIONS.

    `directory` is the one below the tree; `updates` comes before the kernel's own modules.
    """

    strip: bool = False
    signer: Signer | None = None
    hash_name: str = "sha256"
    compress: str = ""
    directory: str = "updates"
    depmod: bool = True


def install(modules: Sequence[Path], root: Path = Path("/"), options: InstallOptions = InstallOptions()) -> list[Path]:
    """Install module files below a root directory, and make the indexes of their trees; where they are now.

    Raises `KoboxError` (a tool that is missing, a module without version magic), `ModuleFormatError`, `OSError`.
    """
    check_options(options)
    # All is made ready before anything is written: one bad module of several leaves the tree as it was.
    ready = [(_release(path), file_stem(path), finished(path, options)) for path in modules]
    placed = []
    for release, name, content in ready:
        place = root / "lib/modules" / release / options.directory / f"{name}.ko{COMPRESSIONS[options.compress]}"
        place.parent.mkdir(parents=True, exist_ok=True)
        write_file(place, content, mode=0o644)
        for other in place.parent.iterdir():  # an earlier one, compressed otherwise, would hide or be hidden
            if other != place and other.name.endswith(SUFFIXES) and from_path(other.name) == from_path(place.name):
                other.unlink()
        placed.append(place)
    if options.depmod:
        from kobox.kmod import depmod

        for release in dict.fromkeys(release for release, _, _ in ready):
            depmod.run(depmod.TreeLocation(release, basedir=str(root)))
    return placed


def check_options(options: InstallOptions) -> None:
    """Raise KoboxError for an unknown compression, or a directory that leads out of the tree."""
    if options.compress not in COMPRESSIONS:
        raise KoboxError(f"compression {options.compress!r}: it is one of {', '.join(filter(None, COMPRESSIONS))}")
    if not options.directory or Path(options.directory).is_absolute() or ".." in Path(options.directory).parts:
        raise KoboxError(f"directory {options.directory!r}: it is one below the tree of modules, such as updates")


def _release(path: Path) -> str:
    release = ModuleFile(path).vermagic.release
    if not release or "/" in release:
        raise ModuleFormatError("no version magic, so no release to install it for", path=str(path))
    return release


def file_stem(path: Path) -> str:
    """The name of a module's file without suffix: its own, which may have dashes, or that of the module inside."""
    inside = ModuleFile(path).name
    return path.name.split(".ko")[0] if from_path(path.name) == inside else inside


def finished(path: Path, options: InstallOptions) -> bytes:
    """The bytes of a module file as they are installed: stripped, signed, compressed."""
    content = ModuleFile(path).content
    if options.strip or options.signer is not None:
        from kobox.ko.signature import strip

        content = strip(content, path=str(path))[0] if ModuleFile(content).is_signed else content
    if options.strip:
        content = _stripped(content, path)
    if options.signer is not None:
        content = append(content, signature_of(content, options.signer, hash_name=options.hash_name))
    return _compressed(content, options.compress)


def _stripped(content: bytes, path: Path) -> bytes:
    if shutil.which("strip") is None:
        raise KoboxError("strip is not installed", hint="Debian: apt-get install binutils")
    with tempfile.TemporaryDirectory() as room:
        copy = Path(room) / path.name.split(".ko")[0]
        with errors_name(copy):
            copy.write_bytes(content)
        done = subprocess.run(["strip", "--strip-debug", str(copy)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise KoboxError(f"{path}: strip: {done.stderr.strip()}")
        return copy.read_bytes()


def _compressed(content: bytes, kind: str) -> bytes:
    if kind == "gzip":
        import gzip

        return gzip.compress(content, mtime=0)
    if kind == "xz":
        import lzma

        # What the kernel's own unpacker (lib/xz) can read: CRC32, and a dictionary of no more than it keeps ready.
        filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 1 << 20}]
        return lzma.compress(content, check=lzma.CHECK_CRC32, filters=filters)
    if kind == "zstd":
        import zstandard

        return zstandard.ZstdCompressor(level=19).compress(content)
    return content
