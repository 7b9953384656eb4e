"""`kobox keys`: make signing keys, list the keys of a machine and which it trusts, enrol one."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kobox.cli.json_output import to_json
from kobox.cli.parser import CommandParser
from kobox.cli.passphrase import given_passphrase
from kobox.signing import keys

if TYPE_CHECKING:
    from kobox.signing.mok_status import MachineKey, MachineKeys
    from kobox.signing.verify import SignatureVerdict


def main(argv: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status."""
    parser = CommandParser(prog=prog, description="Keys to sign modules with.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    new = commands.add_parser("new", help="make a key (NAME.key) and its certificate (NAME.crt, NAME.der)")
    new.add_argument("name", nargs="?", default="signing_key", help="name of the files (default: signing_key)")
    new.add_argument("-o", "--output", type=Path, default=Path(), metavar="DIR", help="output directory (default: .)")
    new.add_argument("--type", default="rsa:2048", metavar="KIND", help=f"{', '.join(keys.KINDS)} (default: rsa:2048)")
    new.add_argument("--cn", default="", metavar="TEXT", help="common name in the certificate (default: NAME)")
    new.add_argument("--organization", default="", metavar="TEXT", help="organization in the certificate")
    new.add_argument("--email", default="", metavar="TEXT", help="address in the certificate")
    new.add_argument("--days", type=int, default=36500, help="validity of the certificate in days (default: 36500)")
    new.add_argument(
        "--passphrase",
        action="store_true",
        help="encrypt the key (prompts unless KBUILD_SIGN_PIN is set)",
    )
    new.add_argument("--passphrase-file", type=Path, metavar="FILE", help="encrypt the key; passphrase in line 1")
    new.add_argument("--force", action="store_true", help="replace existing files")
    new.add_argument("--json", action="store_true", help="print the result as JSON")
    new.set_defaults(run=_new)
    status = commands.add_parser(
        "status",
        aliases=["list"],
        help="list the keys of this machine, which are enrolled, and which of them signed a module",
    )
    status.add_argument("modules", nargs="*", type=Path, metavar="FILE.ko", help="show who signed these modules")
    status.add_argument("--cert", action="append", type=Path, default=[], metavar="FILE", help="report on this one too")
    status.add_argument("--root", type=Path, default=Path("/"), metavar="DIR", help="use this root directory")
    status.add_argument("--json", action="store_true", help="print the result as JSON")
    status.set_defaults(run=_status)
    enroll = commands.add_parser("enroll", help="enrol a certificate as a Machine Owner Key, with mokutil")
    enroll.add_argument("certificate", type=Path, metavar="CERT", help="certificate, PEM or DER")
    enroll.add_argument("-n", "--dry-run", action="store_true", help="only print what would be done")
    enroll.add_argument("--root-pw", action="store_true", help="use root's password as the one-time password")
    enroll.add_argument("--hash-file", type=Path, metavar="FILE", help="a password's hash (mokutil --generate-hash)")
    enroll.add_argument("--root", type=Path, default=Path("/"), metavar="DIR", help="look here; run nothing")
    enroll.set_defaults(run=_enroll)
    arguments = parser.parse_args(argv)
    status_code: int = arguments.run(arguments)
    return status_code


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
        from kobox.signing.verify import fingerprint, key_identifier

        facts = {"key": str(files.key), "certificate": str(files.certificate), "der": str(files.der)}
        facts |= {"key_id": key_identifier(certificate).hex().upper(), "sha256": fingerprint(certificate)}
        print(to_json("keys-new", facts))
    else:
        print(f"{files.key}: the private key{' (encrypted)' if passphrase else ''}; keep it secret")
        print(f"{files.certificate}: its certificate; {files.der} is the same in DER, for mokutil --import")
    return 0


def _asked() -> str:
    import getpass

    from kobox.errors import SigningError

    first = getpass.getpass("passphrase for the new key: ")
    if not first or first != getpass.getpass("the same again: "):
        raise SigningError("the passphrases differ, or are empty", hint="Nothing was written.")
    return first


# -- what a machine trusts ----------------------------------------------------------------------------------------


def _status(arguments: argparse.Namespace) -> int:
    from kobox.signing.mok_status import machine_keys, release_of

    releases = list(dict.fromkeys(filter(None, map(release_of, arguments.modules))))
    found = machine_keys(arguments.root, arguments.cert, releases)
    signed = [(path, *found.signer_of(path.read_bytes(), path=str(path))) for path in arguments.modules]
    if arguments.json:
        print(to_json("keys-status", _machine_as_json(found, signed)))
    else:
        print("\n".join([*_about_secure_boot(found), *_table(found)]))
        for path, verdict, key in signed:
            print("\n".join(_about_module(path, verdict, key)))
    for line in found.unread:
        print(f"not read: {line}", file=sys.stderr)
    return 0 if all(verdict.valid and key and key.trusted for _, verdict, key in signed) else 1


def _about_secure_boot(found: MachineKeys) -> list[str]:
    if not found.uefi:
        return ["Secure Boot: none (not booted by UEFI)"]
    told = {True: "on", False: "off", None: "unknown"}[found.secure_boot]
    return [f"Secure Boot: {told}" + (", but validation in shim is disabled" * found.shim_disabled)]


def _table(found: MachineKeys) -> list[str]:
    if not found.keys:
        return ["no keys found"]
    rows = [(key.name, key.owner, key.path, key.state) for key in found.keys]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return ["  ".join([*map(str.ljust, row, widths), row[3]]) for row in rows]


def _about_module(path: Path, verdict: SignatureVerdict, key: MachineKey | None) -> list[str]:
    if key is None:
        who = f"signed by {verdict.signer}, whose certificate is not on this machine" if verdict.signer else ""
        advice = "Sign it with your own key: `kobox sign`." if not who else "Enrol the signer's certificate."
        return [f"{path}: {who or verdict.reason}", f"    {advice}"]
    if not verdict.valid:
        return [f"{path}: {verdict.reason}", f"    It names {key.name} as its signer. Sign the module again."]
    whose = f"{key.owner}: {key.path}" if key.path else key.owner
    lines = [f"{path}: signed by {key.name} ({whose}), {key.state}"]
    if not key.trusted and not key.forbidden and not key.pending:
        lines.append(f"    To trust it under Secure Boot: `kobox keys enroll {key.path}`")
    return lines


def _machine_as_json(
    found: MachineKeys, signed: Sequence[tuple[Path, SignatureVerdict, MachineKey | None]]
) -> dict[str, Any]:
    import dataclasses

    from kobox.signing.verify import fingerprint

    def row(key: MachineKey) -> dict[str, Any]:
        facts = {field.name: getattr(key, field.name) for field in dataclasses.fields(key)}
        facts |= {"certificate": fingerprint(key.certificate), "keyrings": list(key.keyrings)}
        return {"name": key.name, **facts, "trusted": key.trusted, "state": key.state}

    modules = [
        {"file": str(path), **dataclasses.asdict(verdict), "key": None if key is None else fingerprint(key.certificate)}
        for path, verdict, key in signed
    ]
    about = {"uefi": found.uefi, "secure_boot": found.secure_boot, "shim_disabled": found.shim_disabled}
    return about | {"keys": [row(key) for key in found.keys], "modules": modules, "unread": list(found.unread)}


def _enroll(arguments: argparse.Namespace) -> int:
    from kobox.signing import enroll
    from kobox.signing.mok_status import machine_keys

    found = machine_keys(arguments.root, [arguments.certificate])
    what = enroll.plan(arguments.certificate, found, root_password=arguments.root_pw, hash_file=arguments.hash_file)
    if what.done:
        print(what.done)
        return 0
    elsewhere = arguments.root != Path("/")
    if what.obstacle:
        print(f"cannot be enrolled here: {what.obstacle}")
    elif not arguments.dry_run and not elsewhere:
        if enroll.write_der(what):
            print(f"{what.der}: the certificate in DER, for mokutil")
        print(f"running: {' '.join(what.command)}", flush=True)
        enroll.carry_out(what)
        print("\n".join(["remaining steps:", *_numbered(enroll.STEPS)]))
        return 0
    convert = f"openssl x509 -in {arguments.certificate} -outform DER -out {what.der}"
    by_hand = [convert] if what.der != arguments.certificate and not what.der.exists() else []
    password = "It asks for a new one-time password, which you need once, at the next boot."
    command = f"As root: {' '.join(what.command)}"
    steps = _numbered(
        [*by_hand, command if arguments.root_pw or arguments.hash_file else f"{command}  ({password})", *enroll.STEPS]
    )
    print("\n".join(["steps on the machine that shall trust it:" if what.obstacle else "steps:", *steps]))
    return 1 if what.obstacle else 0


def _numbered(steps: Sequence[str]) -> list[str]:
    return [f"  {number}. {step}" for number, step in enumerate(steps, 1)]
