"""The argument parser of kobox's commands: argparse's, with what all of them have.

- `--color WHEN`, and help that fits the terminal;
- a mistyped option, command or choice is answered with the nearest one;
- `parser_of` hands out a command's parser without running the command, for completion.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from typing import NoReturn

from kobox.cli.helptext import formatter

_WHEN = ("auto", "always", "never")


class ParserWantedError(Exception):
    """Raised in place of parsing while `parser_of` asks for the parser."""

    def __init__(self, parser: CommandParser) -> None:
        super().__init__(parser.prog)
        self.parser = parser


class _WhenToColour(argparse.Action):
    """`--color`: kept in the environment, where worker processes find it, too."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[object] | None,
        option_string: str | None = None,
    ) -> None:
        choose_colour(str(values))


def choose_colour(when: str) -> None:
    """Let `always`, `never` or `auto` hold for this process and its children."""
    if when == "auto":
        return
    os.environ.pop("FORCE_COLOR" if when == "never" else "NO_COLOR", None)
    os.environ["NO_COLOR" if when == "never" else "FORCE_COLOR"] = "1"


class CommandParser(argparse.ArgumentParser):
    """The parser of one command, or of one of its subcommands. Arguments as `argparse.ArgumentParser`'s."""

    wanted = False  # whether somebody asks for the parser, and for nothing else

    def __init__(
        self,
        prog: str | None = None,
        description: str | None = None,
        epilog: str | None = None,
        usage: str | None = None,
        formatter_class: Callable[[str], argparse.HelpFormatter] = formatter,
        add_help: bool = True,
    ) -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog,
            usage=usage,
            formatter_class=formatter_class,  # type: ignore[arg-type]
            add_help=add_help,
        )
        self.add_argument(
            "--color",
            choices=_WHEN,
            action=_WhenToColour,
            default=argparse.SUPPRESS,
            metavar="WHEN",
            help="auto, always or never",
        )

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        """As argparse's; while `parser_of` asks, it raises `ParserWantedError`."""
        if CommandParser.wanted:
            raise ParserWantedError(self)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Print the usage and the error, with the nearest word that exists, and exit with 2."""
        super().error(message + self._nearest(message))

    def _nearest(self, message: str) -> str:
        import difflib
        import re

        if unknown := re.match(r"unrecognized arguments: (--[\w-]+)", message):
            word, words = unknown[1], self.options()
        elif unknown := re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message):
            word, words = unknown[1], re.findall(r"[\w.+-]+", unknown[2])
        else:
            return ""
        near = difflib.get_close_matches(word, words, 1, 0.5)
        return f"; did you mean {near[0]}?" if near else ""

    def options(self) -> list[str]:
        """Every option of this command, in the order of its help."""
        return [option for action in self._actions for option in action.option_strings if action.help != "==SUPPRESS=="]

    def option_action(self, option: str) -> argparse.Action | None:
        """The action of an option; None where there is no such option."""
        return self._option_string_actions.get(option)

    def arguments(self) -> list[argparse.Action]:
        """Every argument and option, in the order in which they were added."""
        return list(self._actions)

    def help_of(self, action: argparse.Action) -> str:
        """The text of an argument's help, with its default and choices put in."""
        return self._get_formatter()._expand_help(action) if action.help else ""

    def positionals(self) -> list[argparse.Action]:
        """The arguments that are no options."""
        return [action for action in self._actions if not action.option_strings]


def parser_of(command: Callable[[list[str], str], int], prog: str) -> CommandParser | None:
    """The parser that a command's `main` makes; None where it makes none of kobox's own."""
    CommandParser.wanted = True
    try:
        command([], prog)
    except ParserWantedError as found:
        return found.parser
    finally:
        CommandParser.wanted = False
    return None


def percentage(text: str) -> float:
    """The type of an option that takes a percentage, `10` or `10%`: 0 or more."""
    try:
        percent = float(text.removesuffix("%"))
    except ValueError:
        percent = -1
    if not 0 <= percent < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r}: not a percentage")
    return percent
