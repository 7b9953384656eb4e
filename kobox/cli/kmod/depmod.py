"""`kobox depmod`: make the indexes of a module tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kobox.cli.kmod.front import (
    INFO,
    Messages,
    Option,
    absolute,
    begin,
    release_or_own,
    text_of,
    write,
    write_exact,
)
from kobox.errors import KoboxError

if TYPE_CHECKING:
    from kobox.kmod.index.symbol_file import SymbolFile

OPTIONS = (
    Option(("all",), "a"),
    Option(("quick",), "A"),
    Option(("basedir",), "b", True),
    Option(("moduledir",), "m", True),
    Option(("outdir",), "o", True),
    Option(("config",), "C", True),
    Option(("symvers",), "E", True),
    Option(("filesyms",), "F", True),
    Option(("errsyms",), "e"),
    Option(("show", "dry-run"), "n"),
    Option(("symbol-prefix",), "P", True),
    Option(("warn",), "w"),
    Option(("verbose",), "v"),
    Option(("version",), "V"),
    Option(("help",), "h"),
)
HELP = """usage: depmod [-a|-A] [options] [RELEASE [/PATH/TO/MODULE.ko ...]]

Makes the indexes that modprobe uses, for the modules of a kernel release.

  -a, --all                 read every module (this is the default)
  -A, --quick               read only modules changed since the last run
  -b, --basedir=DIR         root directory of /lib/modules
  -m, --moduledir=DIR       below the root, instead of /lib/modules
  -o, --outdir=DIR          write the indexes under this root instead
  -C, --config=PATH         instead of depmod.d; may be repeated
  -e, --errsyms             report symbols that nobody exports; with -E or -F
  -E, --symvers=FILE        the kernel's symbols, with their versions
  -F, --filesyms=FILE       read the kernel's symbols from this System.map
  -P, --symbol-prefix=C     ignore this character at the beginning of symbols
  -n, --show                print the indexes, write no file (--dry-run)
  -w, --warn                report aliases that a module has twice
  -v, --verbose             print which symbols make one module need another
  -V, --version             show the version
  -h, --help                show this text"""


def main(argv: list[str], prog: str) -> int:
    """Run the command and return its exit status."""
    begun = begin(argv, prog, OPTIONS, HELP)
    if isinstance(begun, int):
        return begun
    messages, options, arguments = begun
    values = dict(options)
    release, files = release_or_own(""), arguments
    if arguments and not arguments[0].startswith("/"):
        release, files = arguments[0], arguments[1:]
        major, _, rest = release.partition(".")
        if not (major.isdecimal() and rest[:1].isdecimal()):
            messages.error(f"Bad version passed {release}")
            return 1
    if len(values.get("symbol-prefix", "_")) != 1:
        messages.fatal("-P only takes a single char")
        return 1
    for file in files:
        if not file.startswith("/"):
            messages.fatal(f"{file}: not absolute path.")
            return 1
    return _run(messages, options, release, files)


def _run(messages: Messages, options: list[tuple[str, str]], release: str, files: list[str]) -> int:
    from kobox.kmod.depmod import TreeLocation, run
    from kobox.kmod.index.generate import DependencyCycleError

    values = dict(options)
    moduledir = values.get("moduledir", "") or "/lib/modules"
    place = TreeLocation(release, absolute(values.get("basedir", "")), moduledir, absolute(values.get("outdir", "")))
    try:
        outcome = run(
            place,
            config_paths=tuple(value for name, value in options if name == "config"),
            files=tuple(files),
            quick="quick" in values,
            dry_run="show" in values,
            kernel_symbols=_kernel_symbols(messages, values),
            symbol_prefix=values.get("symbol-prefix", ""),
            warn_duplicates="warn" in values,
            tell_uses="verbose" in values,
        )
    except FileNotFoundError as error:
        if error.filename == place.directory:
            messages.error(f"could not open directory {place.directory}: {error.strerror}")
            messages.fatal(f"could not search modules: {error.strerror}")
        else:
            messages.fatal(text_of(error))
        return 1
    except DependencyCycleError as error:
        for line in error.message.splitlines():
            messages.error(line)
        return 1
    except (KoboxError, OSError, ValueError) as error:
        messages.fatal(str(error) if isinstance(error, ValueError) else text_of(error))
        return 1
    write("".join(f"{line}\n" for line in outcome.uses))
    for text in outcome.warnings:
        messages.warning(text)
    for text in outcome.errors:
        messages.error(text)
    for text in outcome.unread_directories:
        messages.error(f"could not open directory {text}")
    for text in outcome.unreadable:
        messages.error(f"failed to load symbols from {text}")
    if "show" in values:
        write_exact(b"".join(outcome.files.values()))
    if "quick" in values and "verbose" in values:
        messages.level = INFO
        messages.say(INFO, f"{outcome.modules} modules, {outcome.read} of them read")
    if outcome.unreadable:
        count = len(outcome.unreadable)
        messages.error(f"{count} of {outcome.modules} module files could not be read; the indexes are without them")
    if outcome.unread_directories:
        messages.error("the indexes are without the modules in directories that could not be opened")
    return 1 if outcome.unreadable or outcome.unread_directories else 0


def _kernel_symbols(messages: Messages, values: dict[str, str]) -> SymbolFile | None:
    from kobox.kmod.index.symbol_file import SymbolFile

    symbols = None
    for option, load in (("symvers", SymbolFile.from_symvers), ("filesyms", SymbolFile.from_system_map)):
        if option in values and symbols is None:
            try:
                symbols = load(values[option])
            except OSError as error:
                raise KoboxError(f"could not load {values[option]}: {error.strerror}") from error
    if "errsyms" in values and symbols is None:
        messages.warning("-e needs -E or -F")
    return symbols if "errsyms" in values else None
