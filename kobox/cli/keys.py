"""`kobox keys new`: a private key and the certificate that kernels verify its signatures with."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from kobox.author import keys
from kobox.cli.passphrase import given_passphrase


def main(argv: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(prog=prog, description="Keys to sign modules with.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    new = commands.add_parser("new", help="make a key (NAME.key) and its certificate (NAME.crt, NAME.der)")
    new.add_argument("name", nargs="?", default="signing_key", help="name of the files (default: signing_key)")
    new.add_argument("-o", "--output", type=Path, default=Path(), metavar="DIR", help="where to (default: here)")
    new.add_argument("--type", default="rsa:2048", metavar="KIND", help=f"{', '.join(keys.KINDS)} (default: rsa:2048)")
    new.add_argument("--cn", default="", metavar="TEXT", help="whose key it is (default: NAME)")
    new.add_argument("--organization", default="", metavar="TEXT", help="organization in the certificate")
    new.add_argument("--email", default="", metavar="TEXT", help="address in the certificate")
    new.add_argument("--days", type=int, default=36500, help="how long the certificate holds (default: 36500)")
    new.add_argument("--passphrase", action="store_true", help="lock the key; asked for unless KBUILD_SIGN_PIN is set")
    new.add_argument("--passphrase-file", type=Path, metavar="FILE", help="lock the key with the first line of a file")
    new.add_argument("--force", action="store_true", help="replace files that are there")
    new.add_argument("--json", action="store_true", help="print what was made as JSON")
    return _new(parser.parse_args(argv))


def _new(arguments: argparse.Namespace) -> int:
    key = keys.generate(arguments.type)
    certificate = keys.self_signed(
        key,
        arguments.cn or arguments.name,
        organization=arguments.organization,
        email=arguments.email,
        days=arguments.days,
    )
    passphrase = ""
    if arguments.passphrase or arguments.passphrase_file:
        passphrase = given_passphrase(arguments.passphrase_file) or _asked()
    files = keys.write_pair(
        arguments.output, arguments.name, key, certificate, passphrase=passphrase, overwrite=arguments.force
    )
    if arguments.json:
        from kobox.author.verify import fingerprint, key_identifier

        facts = {"key": str(files.key), "certificate": str(files.certificate), "der": str(files.der)}
        facts |= {"key_id": key_identifier(certificate).hex().upper(), "sha256": fingerprint(certificate)}
        print(json.dumps(facts, indent=2))
    else:
        print(f"{files.key}: the private key{' (locked)' if passphrase else ''}; keep it to yourself")
        print(f"{files.certificate}: its certificate; {files.der} is the same for mokutil --import")
    return 0


def _asked() -> str:
    import getpass

    from kobox.errors import SigningError

    first = getpass.getpass("passphrase for the new key: ")
    if not first or first != getpass.getpass("once more: "):
        raise SigningError("the two passphrases differ, or are empty", hint="Nothing was written.")
    return first
