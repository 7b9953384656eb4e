"""`kobox sign`: sign modules, with its own options or with those of the kernel's scripts/sign-file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from kobox.cli.parser import CommandParser
from kobox.cli.passphrase import given_passphrase, open_key
from kobox.errors import SigningError
from kobox.signing.sign import HASHES, Signer, append_raw, sign_file, signer_from, strip_file

_EPILOG = """\
As the kernel's scripts/sign-file, for build scripts:
  %(prog)s [-dpk] HASH KEY X509 MODULE [DEST]
  %(prog)s -s RAWSIG HASH X509 MODULE [DEST]
    -d  write only the signature, to MODULE.p7s
    -p  write the signature to MODULE.p7s as well
    -k  name the signer by key identifier
    -s  append a signature made elsewhere
KEY is a file or a pkcs11: URI (needs python-pkcs11). KBUILD_SIGN_PIN holds the
key's passphrase or the token's PIN. kobox sign replaces an existing signature.
sign-file appends a second one; with --replace it is replaced as well.
"""


def main(argv: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status."""
    parser = _parser(prog)
    arguments = parser.parse_intermixed_args(argv)
    if arguments.strip:
        return _strip(arguments)
    if arguments.key or arguments.cert:
        if not (arguments.key and arguments.cert and arguments.words):
            parser.error("--key, --cert and at least one module are needed")
        return _sign(arguments, arguments.hash, arguments.key, arguments.cert, [Path(word) for word in arguments.words])
    return _as_sign_file(parser, arguments)


def _parser(prog: str) -> CommandParser:
    parser = CommandParser(
        prog=prog,
        usage=f"{prog} --key KEY --cert X509 [OPTIONS] MODULE…\n       {prog} --strip MODULE…\n"
        f"       {prog} [-dpk] HASH KEY X509 MODULE [DEST]\n       {prog} -s RAWSIG HASH X509 MODULE [DEST]",
        description="Sign modules, or remove their signature.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("words", nargs="*", metavar="MODULE", help="modules, or the arguments of sign-file")
    parser.add_argument("--key", metavar="FILE", help="private key: PEM file or pkcs11: URI")
    parser.add_argument("--cert", type=Path, metavar="FILE", help="its X.509 certificate, PEM or DER")
    parser.add_argument("--hash", default="sha256", choices=sorted(HASHES), help="digest (default: sha256)")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="write to this file (or directory) instead of in place"
    )
    parser.add_argument("--passphrase-file", type=Path, metavar="FILE", help="the first line is the key's passphrase")
    parser.add_argument("--strip", action="store_true", help="remove the signature")
    parser.add_argument("--replace", action="store_true", help="with sign-file's arguments: replace a signature")
    parser.add_argument("-d", dest="detached", action="store_true", help="only write MODULE.p7s")
    parser.add_argument("-p", dest="keep", action="store_true", help="write MODULE.p7s as well")
    parser.add_argument("-k", dest="by_key_id", action="store_true", help="name the signer by key identifier")
    parser.add_argument("-s", dest="raw", action="store_true", help="append a signature made elsewhere")
    return parser


def _as_sign_file(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    words = arguments.words
    if not 4 <= len(words) <= 5:
        parser.error("give --key and --cert, or the arguments of sign-file: HASH KEY X509 MODULE [DEST]")
    module, destination = Path(words[3]), Path(words[4]) if len(words) == 5 else None
    if arguments.raw:
        append_raw(module, Path(words[0]), destination=destination, behind=not arguments.replace)
        return 0
    arguments.output = destination
    return _sign(arguments, words[0], words[1], Path(words[2]), [module], behind=not arguments.replace)


def _sign(
    arguments: argparse.Namespace,
    hash_name: str,
    key: str,
    certificate: Path,
    modules: list[Path],
    *,
    behind: bool = False,
) -> int:
    signer = _signer(key, certificate, arguments.passphrase_file)
    for module in modules:
        sign_file(
            module,
            signer,
            hash_name=hash_name,
            by_key_id=arguments.by_key_id,
            destination=_destination(arguments.output, module, len(modules)),
            detached=arguments.detached,
            keep_message=arguments.keep,
            behind=behind,
        )
    return 0


def _signer(key: str, certificate: Path, passphrase_file: Path | None) -> Signer:
    from kobox.signing.keys import check_pair, load_certificates

    first = load_certificates(certificate)[0]
    if key.startswith("pkcs11:"):
        from kobox.signing.pkcs11 import signer_in_token

        return signer_in_token(key, first, pin=given_passphrase(passphrase_file))
    private = open_key(Path(key), passphrase_file)
    check_pair(private, first, certificate)
    return signer_from(private, first)


def _strip(arguments: argparse.Namespace) -> int:
    if not arguments.words:
        raise SigningError("no module given")
    modules = [Path(word) for word in arguments.words]
    for module in modules:
        if not strip_file(module, destination=_destination(arguments.output, module, len(modules))):
            print(f"{module}: has no signature", file=sys.stderr)
    return 0


def _destination(output: Path | None, module: Path, count: int) -> Path | None:
    if output is not None and (output.is_dir() or count > 1):
        if not output.is_dir():
            raise SigningError(f"{output}: not a directory, but there are several modules to write")
        return output / module.name
    return output
