"""`kobox verify`: who signed a module, and whether the signature holds."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kobox.ko.compression import read_file
from kobox.signing.verify import SignatureVerdict, verify

if TYPE_CHECKING:
    from cryptography import x509


def main(argv: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status: 0 when every file has a valid signature."""
    parser = argparse.ArgumentParser(prog=prog, description="Say who signed modules, and whether the signature holds.")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="module, plain or compressed")
    parser.add_argument(
        "--cert", action="append", type=Path, default=[], metavar="FILE", help="trust this certificate; repeatable"
    )
    parser.add_argument(
        "-k", "--kernel", metavar="NAME", help="trust what is built into this kernel (default: the default kernel)"
    )
    parser.add_argument("--json", action="store_true", help="print the verdicts as JSON")
    arguments = parser.parse_args(argv)
    trusted = _trusted(arguments.cert, arguments.kernel)
    rows = []
    valid = True
    for path in arguments.files:
        verdict = verify(read_file(path), trusted, path=str(path))
        valid = valid and verdict.valid is True
        if arguments.json:
            rows.append({"file": str(path), **dataclasses.asdict(verdict)})
        else:
            print(f"{path}: {sentence(verdict)}")
    if arguments.json:
        print(json.dumps(rows, indent=2))
    return 0 if valid else 1


def sentence(verdict: SignatureVerdict) -> str:
    """A verdict in one line."""
    details = []
    if verdict.key_id:
        details.append(f"key {verdict.key_id}")
    if verdict.hash_name:
        details.append(f"{verdict.scheme} with {verdict.hash_name}".removeprefix(" with "))
    if verdict.note:
        details.append(verdict.note)
    about = f" ({'; '.join(details)})" if details else ""
    if verdict.valid:
        return f"valid, signed by {verdict.signer}{about}"
    refused = f"; a kernel that enforces signatures answers {verdict.errno}"
    if verdict.valid is None:
        return f"{verdict.reason}{about}{refused}"
    return f"NOT valid: {verdict.reason}{about}{refused}"


def _trusted(paths: Sequence[Path], kernel: str | None) -> list[x509.Certificate]:
    """The certificates given, and those of a kernel if one is named or no certificate is given."""
    from kobox.images.store import Store
    from kobox.signing.keys import load_certificates

    trusted = [certificate for path in paths for certificate in load_certificates(path)]
    store = Store()
    if kernel is not None or (not paths and store.list()):
        from kobox.signing.builtin_certs import built_in_certificates

        trusted += built_in_certificates(store.get(kernel))
    return trusted
