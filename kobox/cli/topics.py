"""`kobox help TOPIC`: what holds for all commands. docs/commands.md repeats the exit codes."""

from __future__ import annotations

# Exit status of each command: (status, meaning). What holds for all stands under "".
EXIT_CODES: dict[str, tuple[tuple[str, str], ...]] = {
    "": (
        ("0", "done"),
        ("1", "it failed, and standard error says why"),
        ("2", "wrong usage: an unknown command, option or value"),
        ("130", "interrupted by Ctrl-C"),
    ),
    "run": (
        ("0", "loaded and unloaded; the kernel reported nothing, nothing left behind"),
        ("1", "anything else"),
    ),
    "check": (
        ("0", "nothing of the severity of --fail-on was found"),
        ("1", "something was found"),
        ("2", "the module could not be checked"),
    ),
    "inspect": (
        ("0", "nothing hostile or suspicious was seen"),
        ("1", "the module is hostile, or it could not be inspected"),
        ("3", "the module is suspicious"),
    ),
    "explain": (("0", "the module would load, or the log shows no failure"), ("1", "it would not, or did not")),
    "verify": (("0", "every signature is good"), ("1", "at least one is not")),
    "shell": (
        ("N", "the status of the shell or of the command of -c"),
        ("124", "not ended after --timeout"),
        ("128+N", "ended by signal N"),
        ("1", "the kernel died, or the command waits for something that never comes"),
    ),
    "gdb": (("N", "gdb's own"), ("1", "the module does not come to its init")),
    "learn": (("0", "the task is done"), ("1", "not yet: the text says what is missing")),
    "ci": (("0", "every module builds, loads and is clean on every kernel"), ("1", "at least one is not")),
    "doctor": (("0", "everything that boxes need is there"), ("1", "something is missing")),
    "kmod tools": (("0", "done"), ("1", "it failed, or wrong usage, as with kmod")),
}
_ENVIRONMENT = (
    ("KOBOX_KERNEL", "the kernel to boot where no option names one"),
    ("XDG_CACHE_HOME", "the cache is $XDG_CACHE_HOME/kobox (~/.cache/kobox)"),
    ("NO_COLOR", "not empty: no colours"),
    ("FORCE_COLOR", "not empty: colours where the output is no terminal, too"),
    ("TERM", "dumb: no colours, and no lines that are rewritten"),
    ("COLUMNS", "the width of help"),
    ("KOBOX_TRACEBACK", "1: a fault of kobox's own shows its traceback"),
)
_COLOUR = """\
Colours are used on a terminal. In this order:
  --color always, --color never    of any command
  NO_COLOR, then FORCE_COLOR       in the environment, where not empty
  TERM=dumb                        no colours"""
_START = """\
A module's way through kobox:
  kobox new chardev hello     write a first version from a template
  kobox build                 build it for the default kernel
  kobox run hello.ko          load it in a box, show what it does, unload it
  kobox check hello.ko        find memory errors, leaks, wrong error paths
  kobox shell hello.ko        a shell, as root, on that kernel
  kobox gdb hello.ko          gdb, forwards and backwards
  kobox learn                 lessons, from hello to hardware
  kobox ci init               all of this for every push
None of it needs root, and none of it touches this machine's kernel."""


def topics() -> dict[str, str]:
    """Every topic, and what it is about in a few words."""
    return {
        "start": "the commands in the order in which one needs them",
        "exit-codes": "exit status of every command",
        "environment": "the variables that kobox reads",
        "color": "when output is coloured",
    }


def topic(name: str) -> str:
    """The text of a topic. Raises `KeyError`."""
    texts = {
        "start": _START,
        "exit-codes": _exit_codes(),
        "environment": _rows(_ENVIRONMENT, 17),
        "color": _COLOUR,
    }
    return texts[name]


def _exit_codes() -> str:
    parts = ["Every command:\n" + _rows(EXIT_CODES[""], 7)]
    parts += [f"{command}:\n{_rows(rows, 7)}" for command, rows in EXIT_CODES.items() if command]
    return "\n".join(parts)


def _rows(rows: tuple[tuple[str, str], ...], width: int) -> str:
    return "\n".join(f"  {name:<{width}} {text}" for name, text in rows)
