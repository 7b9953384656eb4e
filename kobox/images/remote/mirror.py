"""Files of a mirror, over HTTP, HTTPS, or from a directory: never larger than said, used only with the right digest."""

from __future__ import annotations

import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import quote, urlsplit

from kobox.errors import FetchError
from kobox.images.kernel_image import Progress

_CHUNK = 1 << 18
_TIMEOUT = 60.0  # seconds without a byte
_MOST_INDEX = 512 << 20  # bytes of an index, packed


class NotOnMirrorError(FetchError):
    """A mirror has no file of that name."""


class PackageMirror:
    """A mirror's files below one address: `https://…`, `http://…` or `file:///…`."""

    def __init__(self, base: str) -> None:
        self.base = base.rstrip("/")
        if urlsplit(self.base).scheme not in ("http", "https", "file"):
            raise FetchError(f"{base}: no address of a mirror", hint="Give https://…, http://… or a directory.")

    def below(self, path: str) -> PackageMirror:
        """The part of the mirror below a path."""
        return PackageMirror(f"{self.base}/{path}") if path else self

    def read(self, path: str, most: int = _MOST_INDEX) -> bytes:
        """The content of a small file. Raises `FetchError`."""
        with self._open(path) as file:
            content = file.read(most + 1)
        if len(content) > most:
            raise FetchError(f"{self.base}/{path}: more than {most >> 20} MiB", hint="Is this a mirror?")
        return content

    def download(self, path: str, into: Path, size: int, progress: Progress) -> Path:
        """Fetch a file of `size` bytes (0: not known) into a directory; its digest is for the caller to check.

        Raises `FetchError`, `OSError`.
        """
        name = Path(path).name
        place, done = into / name, 0
        with self._open(path) as file, place.open("xb") as out:
            while chunk := file.read(_CHUNK):
                done += len(chunk)
                if done > (size or _MOST_INDEX):
                    raise FetchError(f"{self.base}/{path}: longer than its index says", hint="Try another mirror.")
                out.write(chunk)
                progress(f"downloading {name}", done, size)
        if size and done != size:
            raise FetchError(
                f"{self.base}/{path}: {done} bytes, and its index says {size}",
                hint="The mirror may be changing: try again, or another mirror.",
            )
        return place

    @contextmanager
    def _open(self, path: str) -> Iterator[IO[bytes]]:
        address = f"{self.base}/{quote(path)}"
        request = urllib.request.Request(address, headers={"User-Agent": "kobox"})
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
                yield answer
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            reason = getattr(error, "reason", None) or error
            missing = isinstance(reason, FileNotFoundError) or getattr(error, "code", 0) in (404, 410)
            kind = NotOnMirrorError if missing else FetchError
            raise kind(f"{address}: {reason}", hint="`kobox kernel add --mirror URL` takes another mirror.") from error


def require_digest(path: Path, digest: str, algorithm: str = "sha256") -> None:
    """Raises `FetchError` unless a file has a digest (hexadecimal)."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, algorithm).hexdigest()
    if not digest or found != digest.lower():
        raise FetchError(
            f"{path.name}: its {algorithm} digest is {found}, and the index says {digest or 'none'}",
            hint="Nothing of it was used. Try again, or another mirror.",
        )


def require_content(content: bytes, digest: str, name: str) -> bytes:
    """The content, if it has that SHA-256. Raises `FetchError`."""
    if not digest or hashlib.sha256(content).hexdigest() != digest.lower():
        raise FetchError(
            f"{name}: its digest is not the one that was signed", hint="The mirror may be changing: try again."
        )
    return content
