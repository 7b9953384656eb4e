"""What depmod remembers of a tree between runs: files under $XDG_CACHE_HOME/kobox/depmod.

Never in the tree, which may be read-only or about to be packed into an archive. A file is

    "kobox depmod 2\\n", a key of 16 bytes that says what the content was made from, CRC-32 of key and content, content

It is not fsynced: one that is damaged, or another user's, counts as none. That it can't be written is no error.
"""

from __future__ import annotations

import contextlib
import os
import zlib

_MAGIC = b"kobox depmod 2\n"
KEY_SIZE = 16
_START = len(_MAGIC) + KEY_SIZE + 4


def cache_root() -> str:
    """The folder of everything that is remembered."""
    return os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "kobox", "depmod")


class Memory:
    """What is remembered of one tree, by kind (`facts`, `alias`, ...)."""

    def __init__(self, directory: str) -> None:
        real = os.path.realpath(directory).encode("utf-8", "surrogateescape")
        self._stem = os.path.join(cache_root(), key_of(real).hex())

    def load(self, kind: str, key: bytes) -> bytes | None:
        """The content, if it was made from what `key` stands for."""
        try:
            with open(f"{self._stem}.{kind}", "rb", buffering=0) as file:
                if os.fstat(file.fileno()).st_uid != os.geteuid():
                    return None
                head = file.read(_START)
                if head[:-4] != _MAGIC + key:
                    return None
                content = file.readall()
        except OSError:
            return None
        return content if zlib.crc32(content, zlib.crc32(key)) == int.from_bytes(head[-4:], "little") else None

    def store(self, kind: str, key: bytes, content: bytes) -> None:
        """Remember the content as made from what `key` stands for."""
        path = f"{self._stem}.{kind}"
        aside = f"{path}.{os.getpid()}.tmp"
        with contextlib.suppress(OSError):
            os.makedirs(os.path.dirname(path), exist_ok=True, mode=0o700)
            with open(aside, "wb") as file:
                file.write(_MAGIC + key + zlib.crc32(content, zlib.crc32(key)).to_bytes(4, "little"))
                file.write(content)
            os.rename(aside, path)


def key_of(*parts: bytes) -> bytes:
    """A key for what these parts say."""
    import hashlib

    digest = hashlib.blake2b(digest_size=KEY_SIZE)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()
