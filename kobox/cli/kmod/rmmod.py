"""`kobox rmmod`: unload modules."""

from __future__ import annotations

from kobox.cli.kmod.front import DEBUG, Messages, Option, begin
from kobox.errors import ModuleUnloadError

OPTIONS = (
    Option(("force",), "f"),
    Option(("syslog",), "s"),
    Option(("verbose",), "v"),
    Option(("version",), "V"),
    Option(("help",), "h"),
)
HELP = """usage: rmmod [options] MODULE...

Unloads modules, one after the other. `modprobe -r` also unloads dependencies
that are unused then.

  -f, --force      unload a module in use; this may crash the machine
  -s, --syslog     write messages to the system log
  -v, --verbose    print more messages
  -V, --version    show the version
  -h, --help       show this text"""


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
        messages.error("missing module name.")
        return 1
    return max(_remove(messages, name, "force" in chosen) for name in arguments)


def _remove(messages: Messages, module: str, force: bool) -> int:
    from kobox.kernel.host import Host
    from kobox.kmod.rmmod import rmmod

    try:
        rmmod(Host(), module, force=force)
    except ModuleUnloadError as error:
        hint = f"\n{error.hint}" if error.hint else ""
        if error.message.startswith("could not remove"):
            why = error.strerror
            messages.error(f"could not remove '{error.module}': {why}")
            messages.error(f"could not remove module {module}: {why}{hint}")
        else:
            messages.error(error.message.rpartition(": ")[0] + hint)
        return 1
    return 0
