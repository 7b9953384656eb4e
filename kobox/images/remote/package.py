"""A package of a repository, as its index describes it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RemotePackage:
    """`path` is below the repository's address, `size` in bytes (0: the index does not say), `sha256` hexadecimal;
    `signature` is what the index holds of the package's own."""

    name: str
    version: str
    path: str
    size: int
    sha256: str
    signature: bytes = b""
