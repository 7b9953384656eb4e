"""What depmod remembers of a tree between runs: files under $XDG_CACHE_HOME/kobox/depmod.

Never in the tree, which may be read-only or about to be packed into an archive. A file is

    "kobox depmod 3\\n", CRC-32 of the content, content

It is not fsynced: one that is damaged, or another user's, counts as none. That it can't be written is no error.
"""

from __future__ import annotations

import contextlib
import os
import zlib

from kobox.atomic_file import atomic_file

_MAGIC = b"kobox depmod 3\n"
_START = len(_MAGIC) + 4


def cache_root() -> str:
    """The folder of everything that is remembered."""
    return os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "kobox", "depmod")


def cache_file(directory: str, kind: str) -> str:
    """The path of what is remembered of a tree: `kind` is the file name's ending."""
    from hashlib import blake2b

    real = os.path.realpath(directory).encode("utf-8", "surrogateescape")
    return os.path.join(cache_root(), f"{blake2b(real, digest_size=16).hexdigest()}.{kind}")


class FactsCache:
    """The facts that are remembered of one tree."""

    def __init__(self, directory: str) -> None:
        self._path = cache_file(directory, "facts")

    def load(self) -> bytes | None:
        """The content, None when nothing is remembered."""
        try:
            with open(self._path, "rb", buffering=0) as file:
                if os.fstat(file.fileno()).st_uid != os.geteuid():
                    return None
                head = file.read(_START)
                content = file.readall()
        except OSError:
            return None
        if head[:-4] != _MAGIC or zlib.crc32(content) != int.from_bytes(head[-4:], "little"):
            return None
        return content

    def store(self, content: bytes) -> None:
        """Remember this content."""
        with contextlib.suppress(OSError):
            os.makedirs(os.path.dirname(self._path), exist_ok=True, mode=0o700)
            with atomic_file(self._path, mode=0o600, follow=False, flush=False) as file:
                file.write(_MAGIC + zlib.crc32(content).to_bytes(4, "little"))
                file.write(content)
