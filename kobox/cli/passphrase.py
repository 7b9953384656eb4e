"""The source of a key's passphrase: a file, KBUILD_SIGN_PIN, or a prompt at the terminal."""

from __future__ import annotations

import sys
from pathlib import Path

from kobox.errors import SigningError
from kobox.signing.keys import PrivateKey, load_key, passphrase_from_environment


def open_key(path: Path, passphrase_file: Path | None) -> PrivateKey:
    """Read a private key, asking for its passphrase if it has one and none was given. Raises SigningError."""
    given = given_passphrase(passphrase_file)
    try:
        return load_key(path, given)
    except SigningError as error:
        if given is not None or "encrypted" not in error.message or not sys.stdin.isatty():
            raise
    import getpass

    return load_key(path, getpass.getpass(f"passphrase of {path}: "))


def given_passphrase(passphrase_file: Path | None) -> str | None:
    """The passphrase of a file's first line, else of KBUILD_SIGN_PIN, else None."""
    if passphrase_file is not None:
        return passphrase_file.read_text().split("\n", 1)[0]
    return passphrase_from_environment()
