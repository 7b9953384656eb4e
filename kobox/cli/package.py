"""`kobox package`: a .deb of a module's source for DKMS, or of prebuilt modules for named kernels."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from kobox.cli.install import add_finishing, finishing
from kobox.cli.json_output import to_json
from kobox.cli.parser import CommandParser
from kobox.kbuild.package import Packaged, PackageOptions, package_dkms, package_prebuilt


def main(argv: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status."""
    parser = _parser(prog)
    arguments = parser.parse_args(argv)
    options = PackageOptions(arguments.name, arguments.version, arguments.maintainer, arguments.homepage)
    if arguments.kernel is None:
        finished = (arguments.strip, arguments.key, arguments.cert, arguments.compress)
        if any(finished):
            parser.error("--strip, --key, --cert and --compress are for prebuilt modules: name a kernel (-k)")
        made = [package_dkms(arguments.source, arguments.output, options)]
    else:
        from kobox.cli.build import kernels_named

        if arguments.dkms:
            parser.error("--dkms and --kernel are two kinds of package: give one of them")
        how = finishing(parser, arguments)
        kernels = kernels_named(arguments.kernel)
        made = [package_prebuilt(arguments.source, kernel, arguments.output, options, how) for kernel in kernels]
    for path in made[0].left_out:
        print(f"{prog}: {path}: a private key; it stays out of the package", file=sys.stderr)
    if arguments.json:
        print(to_json("package", [_row(one) for one in made]))
    else:
        print("\n".join(str(one.path) for one in made))
    return 0


def _parser(prog: str) -> CommandParser:
    parser = CommandParser(
        prog=prog,
        description="Write a .deb of a module: of its source, built by DKMS where it is installed, or prebuilt.",
        epilog="A prebuilt module is signed, stripped and compressed as `kobox install` does it. The same source gives "
        "the same bytes; SOURCE_DATE_EPOCH sets the time in them.",
    )
    parser.add_argument("source", nargs="?", type=Path, default=Path(), help="directory of the source (default: here)")
    parser.add_argument("--dkms", action="store_true", help="source package for DKMS (default)")
    parser.add_argument(
        "-k", "--kernel", action="append", metavar="NAME", help="prebuilt for this kernel; repeatable; `all`"
    )
    parser.add_argument("-o", "--output", type=Path, default=Path(), metavar="DIR", help="where to (default: here)")
    parser.add_argument("--name", default="", help="name of the package (default: dkms.conf's)")
    parser.add_argument("--version", default="", help="its version (default: dkms.conf's, else MODULE_VERSION)")
    parser.add_argument(
        "--maintainer",
        default="",
        metavar="TEXT",
        help='"Name <address>" (default: DEBFULLNAME, DEBEMAIL, else git\'s)',
    )
    parser.add_argument("--homepage", default="", metavar="URL", help="where the source comes from")
    add_finishing(parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def _row(made: Packaged) -> dict[str, object]:
    package = made.package
    facts = {"file": str(made.path), "package": package.name, "version": package.version}
    return facts | {"architecture": package.architecture, "files": sorted(package.files)}
