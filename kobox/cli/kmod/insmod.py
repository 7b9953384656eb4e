"""`kobox insmod`: load one module file."""

from __future__ import annotations

from kobox.cli.kmod.front import DEBUG, Messages, Option, begin, text_of
from kobox.errors import KoboxError, ModuleLoadError

OPTIONS = (
    Option(("force",), "f"),
    Option(("force-modversion",)),
    Option(("force-vermagic",)),
    Option(("syslog",), "s"),
    Option(("verbose",), "v"),
    Option(("version",), "V"),
    Option(("help",), "h"),
)
HELP = """usage: insmod [options] FILE [PARAMETER=VALUE ...]

Loads one module file (plain, gzip, xz, zstd or lz4). `modprobe` also loads its
dependencies.

  -f, --force             ignore versions; this may crash the machine
      --force-modversion  ignore symbol versions
      --force-vermagic    ignore the version magic
  -s, --syslog            write messages to the system log
  -v, --verbose           print more messages
  -V, --version           show the version
  -h, --help              show this text"""


def main(argv: list[str], prog: str) -> int:
    """Run the command and return its exit status."""
    begun = begin(argv, prog, OPTIONS, HELP)
    if isinstance(begun, int):
        return begun
    messages, options, arguments = begun
    chosen = {name for name, _ in options}
    if "verbose" in chosen:
        messages.level = DEBUG
    if not arguments:
        messages.error("missing filename.")
        return 1
    return _insert(messages, arguments[0], arguments[1:], chosen)


def _insert(messages: Messages, path: str, words: list[str], chosen: set[str]) -> int:
    from kobox.kernel.host import Host
    from kobox.kernel.interface import InitFlags
    from kobox.kmod.insmod import insmod, meaning
    from kobox.kmod.parameters import join_arguments

    flags = InitFlags.NONE
    if chosen & {"force", "force-modversion"}:
        flags |= InitFlags.IGNORE_MODVERSIONS
    if chosen & {"force", "force-vermagic"}:
        flags |= InitFlags.IGNORE_VERMAGIC
    try:
        insmod(Host(), path, join_arguments(words), flags)
    except ModuleLoadError as error:
        hint = f"\n{error.hint}" if error.hint else ""
        messages.error(f"could not insert module {path}: {meaning(error.errno)}{hint}")
        return 1
    except OSError as error:
        messages.error(f"could not load module {path}: {error.strerror}")
        return 1
    except (KoboxError, ValueError) as error:
        messages.error(text_of(error) if isinstance(error, KoboxError) else str(error))
        return 1
    return 0
