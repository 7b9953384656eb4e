"""`kobox lsmod`: show the modules that are in the kernel."""

from __future__ import annotations

from kobox.cli.kmod.front import Messages, Option, begin, write, write_json

OPTIONS = (
    Option(("syslog",), "s"),
    Option(("verbose",), "v"),
    Option(("json",)),
    Option(("version",), "V"),
    Option(("help",), "h"),
)
HELP = """usage: lsmod [options]

Shows the modules that are in the kernel: name, size in bytes, use count, users.

  -s, --syslog     write messages to the system log
  -v, --verbose    print more messages
      --json       print JSON, with state, address and taint
  -V, --version    show the version
  -h, --help       show this text"""


def main(argv: list[str], prog: str) -> int:
    """Run the command and return its exit status."""
    begun = begin(argv, prog, OPTIONS, HELP)
    if isinstance(begun, int):
        return begun
    messages, options, arguments = begun
    if arguments:
        messages.error("too many arguments provided.")
        return 1
    return show(messages, "json" in dict(options))


def show(messages: Messages, as_json: bool) -> int:
    """Print the table, or its JSON."""
    from kobox.kernel.host import Host
    from kobox.kmod.lsmod import lsmod, table

    try:
        modules = lsmod(Host())
    except OSError as error:
        messages.error(f"could not open /proc/modules: {error.strerror}")
        messages.error(f"could not get list of modules: {error.strerror}")
        return 1
    if as_json:
        write_json("lsmod", [{**module._asdict(), "address": hex(module.address)} for module in modules])
    else:
        write(table(modules))
    return 0
