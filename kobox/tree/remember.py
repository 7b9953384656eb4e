"""What depmod remembers of a tree between runs: files under $XDG_CACHE_HOME/kobox/depmod.

Never in the tree, which may be read-only or about to be packed into an archive. A file is

    "kobox depmod 3\\n", CRC-32 of the content, content

It is not fsynced: one that is damaged, or another user's, counts as none. That it can't be written is no error.
"""

from __future__ import annotations

import contextlib
import os
import zlib

_MAGIC = b"kobox depmod 3\n"
_START = len(_MAGIC) + 4


def cache_root() -> str:
    """The folder of everything that is remembered."""
    return os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "kobox", "depmod")


class Memory:
    """What is remembered of one tree, by kind (`facts`)."""

    def __init__(self, directory: str) -> None:
        import hashlib

        real = os.path.realpath(directory).encode("utf-8", "surrogateescape")
        self._stem = os.path.join(cache_root(), hashlib.blake2b(real, digest_size=16).hexdigest())

    def load(self, kind: str) -> bytes | None:
        """The content, None when nothing is remembered."""
        try:
            with open(f"{self._stem}.{kind}", "rb", buffering=0) as file:
                if os.fstat(file.fileno()).st_uid != os.geteuid():
                    return None
                head = file.read(_START)
                content = file.readall()
        except OSError:
            return None
        if head[:-4] != _MAGIC or zlib.crc32(content) != int.from_bytes(head[-4:], "little"):
            return None
        return content

    def store(self, kind: str, *parts: bytes) -> None:
        """Remember this content."""
        path = f"{self._stem}.{kind}"
        aside = f"{path}.{os.getpid()}.tmp"
        check = 0
        for part in parts:
            check = zlib.crc32(part, check)
        with contextlib.suppress(OSError):
            os.makedirs(os.path.dirname(path), exist_ok=True, mode=0o700)
            with open(aside, "wb", buffering=0) as file:
                for part in (_MAGIC, check.to_bytes(4, "little"), *parts):
                    file.write(part)
            os.rename(aside, path)
