"""`kobox kernel add | list | default | rm`: the kernels that boxes boot."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from kobox.cli.json_output import to_json
from kobox.cli.parser import CommandParser
from kobox.cli.progress import ProgressLine
from kobox.errors import BuildError, KernelNotFoundError
from kobox.images.store import KernelImage, Store
from kobox.kbuild.rust import RustSupport, add_rust, told_before

_SOURCES = """\
sources:
  debian                 the newest cloud kernel of this machine's suite
                         (bookworm where it is not Debian)
  debian:6.1.0-56-amd64  a release of that suite
  debian:rt-amd64        the newest of a flavour
  debian/trixie          the newest cloud kernel of a suite
  debian/sid:RELEASE     a release of a suite
  debian:arm64           the newest cloud kernel for arm64; debian/trixie:arm64
  debian:riscv64         the newest kernel for riscv64 (trixie, or later)
  host                   the kernel that runs on this machine
  ./vmlinuz              a kernel image: bzImage or ELF vmlinux (x86-64),
                         Image (arm64, riscv64)
  FILE...                the packages of one kernel: .deb, .rpm, .apk,
                         .pkg.tar.zst, or the tarball of `make tar-pkg`;
                         or a container's image, as `docker save` writes it
  ubuntu/24.04           of an Ubuntu release; ubuntu/noble:lowlatency
  fedora/41              of Fedora; also rocky/9, almalinux/9
  opensuse               of Tumbleweed; opensuse/15.6
  archlinux              of Arch Linux; archlinux:linux-lts
  alpine/3.20            of Alpine; alpine/edge:lts
"""


def main(argv: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status."""
    arguments = _parser(prog).parse_args(argv)
    store = Store()
    status: int = arguments.run(store, arguments)
    return status


def _parser(prog: str) -> CommandParser:
    parser = CommandParser(prog=prog, description="The kernels that boxes boot.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    add = commands.add_parser(
        "add",
        help="fetch or copy a kernel into the cache",
        epilog=_SOURCES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add.add_argument("source", nargs="?", help="where the kernel comes from (see below)")
    add.add_argument("packages", nargs="*", type=Path, metavar="PACKAGE", help="more packages of the same kernel")
    add.add_argument("--build", type=Path, metavar="DIR", help="the directory where a kernel was built (`make O=DIR`)")
    add.add_argument("--modules", type=Path, metavar="DIR", help="its lib/modules/RELEASE directory")
    add.add_argument("--headers", type=Path, metavar="DIR", help="what `make -C` takes to build modules for it")
    add.add_argument("--mirror", default="", metavar="URL|DIR", help="fetch a distribution's kernel from this mirror")
    add.add_argument("--keyring", type=Path, metavar="FILE", help="check its signatures with these keys")
    add.add_argument("--default", action="store_true", help="make it the default kernel")
    add.add_argument(
        "--rust",
        action="store_true",
        help="also make what Rust modules are built with (7.2 and later: 350 MB to fetch, some minutes, once)",
    )
    add.add_argument("--json", action="store_true", help="print the kernel as JSON")
    add.set_defaults(run=_add, refuse=add.error)

    listing = commands.add_parser("list", aliases=["ls"], help="list the kernels of the cache")
    listing.add_argument("--size", action="store_true", help="add the room that each takes, which takes a second")
    listing.add_argument("--json", action="store_true", help="print them as JSON")
    listing.set_defaults(run=_list)

    default = commands.add_parser("default", help="show or choose the kernel that is meant when none is named")
    default.add_argument("name", nargs="?", help="a kernel of the cache")
    default.add_argument("--json", action="store_true", help="print the kernel as JSON")
    default.set_defaults(run=_default)

    remove = commands.add_parser("rm", help="remove kernels from the cache")
    remove.add_argument("names", nargs="+", metavar="NAME", help="a kernel of the cache")
    remove.add_argument("--json", action="store_true", help="print what was removed as JSON")
    remove.set_defaults(run=_remove)
    return parser


def _add(store: Store, arguments: argparse.Namespace) -> int:
    progress = ProgressLine(quiet=arguments.json)
    try:
        kernel = _kept(store, arguments) or _added(store, arguments, progress)
        if arguments.rust:
            support = RustSupport(kernel)
            if not support.exists:
                print(told_before(kernel), file=sys.stderr)
            add_rust(store, kernel, progress)
    except BuildError as error:
        progress.close()
        print(error.output, end="", file=sys.stderr)
        raise
    finally:
        progress.close()
    if arguments.default:
        store.set_default(kernel.name)
    if arguments.json:
        print(to_json("kernel", kernel_facts(kernel, store.default())))
    else:
        parts = ["with modules" if kernel.modules else "no modules", "with headers" if kernel.headers else "no headers"]
        print(f"{kernel.name}: {', '.join(parts)}, in {kernel.directory}")
        _warn(kernel)
    return 0


def _added(store: Store, arguments: argparse.Namespace, progress: ProgressLine) -> KernelImage:
    if (arguments.source is None) == (arguments.build is None):
        arguments.refuse("name a source or a --build DIR, and not both")
    if arguments.build is not None:
        return store.add_build(arguments.build, progress)
    return store.add(
        arguments.source,
        modules=arguments.modules,
        headers=arguments.headers,
        packages=arguments.packages,
        mirror=arguments.mirror,
        keyring=arguments.keyring,
        progress=progress,
    )


def _warn(kernel: KernelImage) -> None:
    """Say what a kernel's configuration lacks for boxes, as far as it came with one."""
    from kobox.box.boot.boot_failure import check_needs, missed_features
    from kobox.errors import KoboxError
    from kobox.images.kernel_config import read_config

    config = read_config(kernel)
    try:
        check_needs(kernel.name, config, kernel.arch)
        notes = missed_features(config, kernel.arch, has_types=kernel.made_types.exists())
    except KoboxError as error:
        notes = [f"{error.message}. {error.hint}"]
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def _kept(store: Store, arguments: argparse.Namespace) -> KernelImage | None:
    """The kernel of the cache that --rust names, which need not be fetched again."""
    if not arguments.rust:
        return None
    return next((kernel for kernel in store.list() if kernel.name == arguments.source), None)


def _list(store: Store, arguments: argparse.Namespace) -> int:
    kernels = store.list()
    default = store.default() if kernels else None
    if arguments.json:
        print(to_json("kernel-list", [kernel_facts(kernel, default, size=arguments.size) for kernel in kernels]))
        return 0
    if not kernels:
        print("no kernel in the cache; `kobox kernel add debian` fetches one")
        return 0
    width = max(len(kernel.name) for kernel in kernels)
    for kernel in kernels:
        mark = "*" if kernel == default else " "
        has = " ".join(part for part in ("modules", "headers") if getattr(kernel, part)) or "-"
        size = f"{_size(kernel.directory) >> 20:>5} MB  " if arguments.size else ""
        print(f"{mark} {kernel.name:<{width}}  {size}{has:<15}  {kernel.origin}")
    return 0


def _default(store: Store, arguments: argparse.Namespace) -> int:
    kernel = store.set_default(arguments.name) if arguments.name else store.default()
    print(to_json("kernel", kernel_facts(kernel, kernel)) if arguments.json else kernel.name)
    return 0


def _remove(store: Store, arguments: argparse.Namespace) -> int:
    # All are looked up before the first is removed: a misspelt name removes nothing.
    kernels = [store.get(name) for name in arguments.names if "/" not in name]
    if len(kernels) < len(arguments.names):
        raise KernelNotFoundError("a path is no kernel of the cache", hint="`kobox kernel list` shows their names.")
    removed = [store.remove(kernel.name) for kernel in kernels]
    if arguments.json:
        print(json.dumps([kernel.name for kernel in removed]))
    else:
        for kernel in removed:
            print(f"{kernel.name}: removed")
    return 0


def kernel_facts(kernel: KernelImage, default: KernelImage | None, *, size: bool = False) -> dict[str, object]:
    """A kernel as `--json` prints it."""
    return {
        "name": kernel.name,
        "release": kernel.release,
        "default": kernel == default,
        "vmlinuz": str(kernel.vmlinuz),
        "modules": str(kernel.modules) if kernel.modules else None,
        "headers": str(kernel.headers) if kernel.headers else None,
        "origin": kernel.origin,
        "directory": str(kernel.directory),
        "digest": kernel.digest,
        **({"size": _size(kernel.directory)} if size else {}),
    }


def _size(directory: Path) -> int:
    """The bytes that a directory takes on disk."""
    blocks = 0
    for room, _, names in os.walk(directory):
        for name in names:
            blocks += Path(room, name).lstat().st_blocks
    return blocks * 512
