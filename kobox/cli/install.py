"""`kobox install`: modules into a root directory's module tree, stripped, signed and compressed in the right order."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kobox.cli.parser import CommandParser
from kobox.kbuild.install import COMPRESSIONS, InstallOptions, install


def main(argv: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status."""
    parser = CommandParser(
        prog=prog, description="Install modules below ROOT/lib/modules/RELEASE/updates, and make the indexes."
    )
    parser.add_argument("modules", nargs="+", type=Path, metavar="FILE.ko", help="modules, each for its own release")
    parser.add_argument("--root", type=Path, default=Path("/"), metavar="DIR", help="root directory (default: /)")
    add_finishing(parser)
    parser.add_argument("--no-depmod", dest="depmod", action="store_false", help="leave the indexes alone")
    arguments = parser.parse_args(argv)
    options = replace(finishing(parser, arguments), depmod=arguments.depmod)
    for place in install(arguments.modules, arguments.root, options):
        print(place)
    return 0


def add_finishing(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what becomes of a module before it lies in its tree."""
    parser.add_argument("--dir", default="updates", metavar="NAME", help="directory of the tree (default: updates)")
    parser.add_argument("--strip", action="store_true", help="take debug information off")
    parser.add_argument("--key", type=Path, metavar="FILE", help="sign with this private key")
    parser.add_argument("--cert", type=Path, metavar="FILE", help="its certificate")
    parser.add_argument("--passphrase-file", type=Path, metavar="FILE", help="holds the key's passphrase")
    parser.add_argument("--hash", default="sha256", help="hash of the signature (default: sha256)")
    parser.add_argument("--compress", default="", choices=[*filter(None, COMPRESSIONS)], help="compress the files")


def finishing(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> InstallOptions:
    """What these options say. Raises SigningError for a key and a certificate that do not serve."""
    if (arguments.key is None) != (arguments.cert is None):
        parser.error("--key and --cert go together")
    signer = None
    if arguments.key is not None:
        from kobox.cli.passphrase import open_key
        from kobox.signing.keys import check_pair, load_certificates
        from kobox.signing.sign import signer_from

        key, certificate = open_key(arguments.key, arguments.passphrase_file), load_certificates(arguments.cert)[0]
        check_pair(key, certificate, arguments.cert)
        signer = signer_from(key, certificate)
    return InstallOptions(arguments.strip, signer, arguments.hash, arguments.compress, arguments.dir)
