"""What the kmod tools' fronts share: options as getopt_long(3) reads them, and messages as kmod writes them.

    prog: ERROR: text        on standard error, or in the system log with -s

A message about wrong usage has no level.
"""

from __future__ import annotations

import os
import sys

from kobox.cli.terminal_output import Painted
from kobox.errors import KoboxError
from kobox.printable import printable
from kobox.startup import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Messages up to this level are shown; -q and -v move it. The numbers are syslog(3)'s.
FATAL, ERROR, WARNING, NOTICE, INFO, DEBUG = 2, 3, 4, 5, 6, 7
_LABELS = {FATAL: "FATAL", ERROR: "ERROR", WARNING: "WARNING", NOTICE: "NOTICE", INFO: "INFO", DEBUG: "DEBUG"}


class UsageError(Exception):
    """The command line can't be understood; the text says why, in getopt_long(3)'s words."""


class Option(NamedTuple):
    """One option: its long names, its letter ("" for none), and whether it takes a value."""

    names: tuple[str, ...]
    letter: str = ""
    takes_value: bool = False


class Messages:
    """Where a tool's messages go. `tool` is the name that they begin with."""

    def __init__(self, prog: str) -> None:
        self.tool = prog.rpartition(" ")[2]
        self.level = WARNING
        self.to_syslog = False

    def say(self, level: int, text: str) -> None:
        """Write a message of this level, if the level is shown at all."""
        if level > self.level:
            return
        text = f"{_LABELS[level]}: {text}"
        if self.to_syslog:
            import syslog

            syslog.openlog(self.tool, syslog.LOG_CONS, syslog.LOG_DAEMON)
            # A record of the log is one line; a hint is another one.
            for line in text.splitlines():
                syslog.syslog(level, printable(line))
            return
        sys.stdout.flush()
        print(f"{self.tool}: {text}", file=sys.stderr)

    def error(self, text: str) -> None:
        """An error that does not keep the rest from being done."""
        self.say(ERROR, text)

    def warning(self, text: str) -> None:
        """Something odd."""
        self.say(WARNING, text)

    def fatal(self, text: str) -> None:
        """The error that ended it."""
        self.say(FATAL, text)

    def plain(self, text: str) -> None:
        """A line on standard error without a level, for usage errors."""
        print(f"{self.tool}: {text}", file=sys.stderr)


def parse(argv: Sequence[str], options: Sequence[Option]) -> tuple[list[tuple[str, str]], list[str]]:
    """([(first long name of the option, its value)], arguments), as getopt_long(3) reads them. Raises `UsageError`.

    Options may stand behind arguments, unless POSIXLY_CORRECT is set. (`getopt` of the standard library takes longer to
    import than all this, since its messages can be translated.)
    """
    found: list[tuple[str, str]] = []
    arguments: list[str] = []
    words = list(argv)
    while words:
        word = words.pop(0)
        if word == "--":
            return found, arguments + words
        if word.startswith("--"):
            found.append(_long_option(word[2:], words, options))
        elif word.startswith("-") and word != "-":
            found += _short_options(word[1:], words, options)
        elif "POSIXLY_CORRECT" in os.environ:
            return found, [word, *words]
        else:
            arguments.append(word)
    return found, arguments


def _long_option(word: str, rest: list[str], options: Sequence[Option]) -> tuple[str, str]:
    """One option by its long name, or by a beginning that only one option has."""
    name, equals, value = word.partition("=")
    near = [(each, option) for option in options for each in option.names if each.startswith(name)]
    near = [(each, option) for each, option in near if each == name] or near
    if not near:
        raise UsageError(f"unrecognized option '--{word}'" if equals else f"unrecognized option '--{name}'")
    whole, option = near[0]
    if any(other is not option for _, other in near):
        possible = " ".join(f"'--{each}'" for each, _ in near)
        raise UsageError(f"option '--{word}' is ambiguous; possibilities: {possible}")
    if option.takes_value and not equals:
        if not rest:
            raise UsageError(f"option '--{whole}' requires an argument")
        value = rest.pop(0)
    if equals and not option.takes_value:
        raise UsageError(f"option '--{whole}' doesn't allow an argument")
    return option.names[0], value


def _short_options(letters: str, rest: list[str], options: Sequence[Option]) -> list[tuple[str, str]]:
    """The options of one word of letters; the last may have its value in the same word, or in the next."""
    found = []
    while letters:
        letter, letters = letters[0], letters[1:]
        option = next((option for option in options if option.letter == letter), None)
        if option is None:
            raise UsageError(f"invalid option -- '{letter}'")
        value = ""
        if option.takes_value:
            if not letters and not rest:
                raise UsageError(f"option requires an argument -- '{letter}'")
            value, letters = letters or rest.pop(0), ""
        found.append((option.names[0], value))
    return found


def begin(
    argv: Sequence[str], prog: str, options: Sequence[Option], text: str
) -> tuple[Messages, list[tuple[str, str]], list[str]] | int:
    """What all tools do first: where messages go, the options given (name and value), the other arguments.

    An exit status instead when --help, --version or wrong usage has ended it.
    """
    messages = Messages(prog)
    try:
        found, arguments = parse(argv, options)
    except UsageError as error:
        messages.plain(str(error))
        return 1
    chosen = {name for name, _ in found}
    messages.to_syslog = "syslog" in chosen
    if "help" in chosen or "version" in chosen:
        print(text if "help" in chosen else version())
        return 0
    return messages, found, arguments


def version() -> str:
    """What --version prints: the kmod whose behaviour this is, then kobox's own version."""
    import kobox

    return f"kmod version 34.2\n+ZSTD +XZ +ZLIB +OPENSSL\nkobox {kobox.__version__}"


def write(text: str) -> None:
    """Print text from a file: control characters and undecodable bytes are escaped, NUL separators stay."""
    sys.stdout.write(Painted("\0".join(map(printable, text.split("\0")))))
    sys.stdout.flush()


def write_exact(data: bytes) -> None:
    """Print the content of a file byte for byte; to a terminal as `write` does."""
    if sys.stdout.isatty():
        write(data.decode("utf-8", "surrogateescape"))
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def write_json(kind: str, value: Mapping[str, object] | Sequence[Mapping[str, object]]) -> None:
    """Print a value as JSON; `kobox schema` has the kinds."""
    from kobox.cli.json_output import to_json

    print(to_json(kind, value))


def text_of(error: KoboxError | OSError) -> str:
    """An error's whole text: a hint stands on a line of its own."""
    if isinstance(error, KoboxError):
        return str(error)
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}"


def absolute(root: str) -> str:
    """A root directory as kmod writes it: behind the working directory when it is relative, otherwise unchanged."""
    return root if not root or root.startswith("/") else f"{os.getcwd()}/{root}"


def release_or_own(release: str) -> str:
    """The release given, or this machine's."""
    return release or os.uname().release
