"""`kobox verify`: who signed a module, and what a kernel that enforces signatures answers."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from kobox.cli.json_output import to_json
from kobox.cli.parser import CommandParser
from kobox.ko.compression import read_file
from kobox.printable import one_line
from kobox.signing.verify import SignatureVerdict, common_name, verify


def main(argv: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status: 0 when every file has a valid signature."""
    parser = CommandParser(
        prog=prog, description="Show who signed modules, and whether a kernel with signatures enforced loads them."
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="module, plain or compressed")
    parser.add_argument(
        "--cert",
        action="append",
        type=Path,
        default=[],
        metavar="FILE",
        help="the kernel trusts this one too; repeatable",
    )
    parser.add_argument("-k", "--kernel", metavar="NAME", help="the kernel that judges (default: the default kernel)")
    parser.add_argument("--json", action="store_true", help="print the verdicts as JSON")
    arguments = parser.parse_args(argv)
    rows = []
    valid = True
    with ExitStack() as stack:
        judge = _judge(arguments.cert, arguments.kernel, stack, prog)
        for path in arguments.files:
            verdict = judge(read_file(path), str(path))
            valid = valid and verdict.valid is True
            if arguments.json:
                rows.append({"file": str(path), **dataclasses.asdict(verdict)})
            else:
                print(one_line(f"{path}: {sentence(verdict)}"), flush=True)
    if arguments.json:
        print(to_json("verify", rows))
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
    who = f"kernel {verdict.kernel}" if verdict.kernel else "a kernel that enforces signatures"
    refused = f"; {who} answers {verdict.errno}"
    if verdict.valid is None:
        return f"{verdict.reason}{about}{refused}"
    return f"NOT valid: {verdict.reason}{about}{refused}"


def _judge(
    paths: Sequence[Path], kernel: str | None, stack: ExitStack, prog: str
) -> Callable[[bytes, str], SignatureVerdict]:
    """The function that judges a file: by a kernel in a box, or by the rules that kernels share if none is cached."""
    from kobox.images.store import Store
    from kobox.signing.keys import load_certificates

    certificates = [certificate for path in paths for certificate in load_certificates(path)]
    store = Store()
    if kernel is None and not store.list():
        print(f"{prog}: no kernel in {store.root}: the answer is by the rules that kernels share", file=sys.stderr)
        return lambda data, path: verify(data, certificates, path=path)
    from kobox.apps.signature_check import SignatureCheck

    check = stack.enter_context(SignatureCheck(store.get(kernel), certificates))
    for certificate, reason in check.unsupported:
        print(f"{prog}: {common_name(certificate.subject)}: {reason}", file=sys.stderr)
    return lambda data, path: check.verdict(data, path=path)
