"""Man pages (man(7)), made of what --help says, so that a page says nothing else.

A kmod tool's, in section 8, of the text of its --help:

    usage: TOOL ...             SYNOPSIS
    a paragraph                 DESCRIPTION
      -a, --all   text          OPTIONS
    a line that ends with `:`   a section of its own

A command's, in section 1, of its parser: kobox-run(1); and kobox(1), which names all of them.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping

from kobox.cli.parser import CommandParser, parser_of
from kobox.cli.topics import EXIT_CODES, topic

_OPTION = re.compile(r"^ {2,6}(-\S.*?)(?: {2,}(\S.*))?$")
_ENTRY = re.compile(r"^ {2}(\S.*?) {2,}(\S.*)$")


def tool_page(tool: str, text: str, summary: str, version: str) -> str:
    """The page of a tool in section 8, from the text of its --help and a summary of some words."""
    usage, _, rest = text.partition("\n\n")
    lines = [
        f'.TH {tool.upper()} 8 "" "kobox {version}"',
        ".SH NAME",
        f"{tool} \\- {_escaped(summary)}",
        ".SH SYNOPSIS",
    ]
    for line in usage.removeprefix("usage:").splitlines():
        lines += [".nf", _escaped(line.strip()), ".fi"]
    lines.append(".SH DESCRIPTION")
    in_options = False
    for line in rest.splitlines():
        option = _OPTION.match(line)
        if option and not in_options:
            lines.append(".SH OPTIONS")
            in_options = True
        if option:
            lines += [".TP", f"\\fB{_escaped(option[1])}\\fR", _escaped(option[2] or "")]
        elif line.endswith(":") and not line.startswith(" "):
            lines.append(f".SH {_escaped(line[:-1].upper())}")
        elif entry := _ENTRY.match(line):
            lines += [".TP", f"\\fB{_escaped(entry[1])}\\fR", _escaped(entry[2])]
        elif line.strip():
            lines.append(_escaped(line.strip()))
        elif not in_options:
            lines.append(".PP")
    lines += [
        ".SH EXIT STATUS",
        "0 when it has done all that it was asked for, 1 when it has not, 130 when it was interrupted.",
        ".SH SEE ALSO",
        ".BR modprobe.d (5),",
        ".BR depmod.d (5),",
        ".BR modules.dep (5)",
    ]
    return "\n".join(line for line in lines if line) + "\n"


def pages(commands: Mapping[str, tuple[str, str]], version: str) -> dict[str, str]:
    """The pages of section 1, by file name: kobox.1, and kobox-run.1 and so on for each of `commands` (module, summary)
    that has a parser of kobox's own."""
    made = {"kobox.1": _overview(commands, version)}
    for name, (module, summary) in commands.items():
        main = __import__(module, fromlist=["main"]).main
        if not hasattr(__import__(module, fromlist=["HELP"]), "HELP"):
            parser = parser_of(main, f"kobox {name}")
            assert parser is not None, name
            made[f"kobox-{name}.1"] = _command_page(name, parser, summary, version)
    return made


def _overview(commands: Mapping[str, tuple[str, str]], version: str) -> str:
    lines = [
        *_head("kobox", "the life of Linux kernel modules, in a box", version),
        ".SH SYNOPSIS",
        ".B kobox",
        "COMMAND [ARGUMENT]...",
        ".SH DESCRIPTION",
        "kobox boots an unmodified distribution kernel inside its own process, where any module can be built, loaded,",
        "used, checked and unloaded, and can harm nothing.",
        ".SH COMMANDS",
    ]
    for name, (_, summary) in commands.items():
        lines += [".TP", f"\\fBkobox {_escaped(name)}\\fR", _escaped(summary)]
    lines += [".SH ENVIRONMENT", ".nf", *map(_escaped, topic("environment").splitlines()), ".fi"]
    return _page([*lines, *_exit_status("")])


def _command_page(name: str, parser: CommandParser, summary: str, version: str) -> str:
    lines = _head(f"kobox-{name}", summary, version)
    lines += [".SH SYNOPSIS", *_synopsis(parser)]
    lines += [".SH DESCRIPTION", _paragraph(parser, parser.description or summary)]
    lines += _arguments(parser)
    for word, inner in _subcommands(parser):
        lines += [f".SH KOBOX {name.upper()} {word.upper()}", *_synopsis(inner), ".PP"]
        lines += [_paragraph(inner, inner.description or ""), *_arguments(inner, heading=".PP", own=True)]
    if parser.epilog:
        lines += [".SH NOTES", _paragraph(parser, parser.epilog)]
    return _page([*lines, *_exit_status(name), ".SH SEE ALSO", ".BR kobox (1)"])


def _head(name: str, summary: str, version: str) -> list[str]:
    return [f'.TH {name.upper()} 1 "" "kobox {version}"', ".SH NAME", f"{_escaped(name)} \\- {_escaped(summary)}"]


def _synopsis(parser: CommandParser) -> list[str]:
    """Each way to call it, on a line of its own."""
    usage = " ".join(parser.format_usage().removeprefix("usage:").split())
    ways = [way.strip() for way in usage.split(f"{parser.prog} ") if way.strip()]
    calls = [_escaped(f"{parser.prog} {way}") for way in ways] or [_escaped(usage)]
    return "\n.br\n".join(calls).split("\n")


def _paragraph(parser: CommandParser, text: str) -> str:
    text = text.replace("%(prog)s", parser.prog).replace("%%", "%")
    return "\n".join(_escaped(line.strip()) for line in text.splitlines())


def _arguments(parser: CommandParser, heading: str = ".SH OPTIONS", *, own: bool = False) -> Iterator[str]:
    """An entry for each argument and option, those that help leaves out excepted; with `own`, without --help and
    --color, which all commands have."""
    told = heading
    for action in parser.arguments():
        if action.help == argparse.SUPPRESS or isinstance(action, argparse._SubParsersAction):
            continue
        if own and {"--help", "--color"} & set(action.option_strings):
            continue
        if told:
            yield told
            told = ""
        yield ".TP"
        yield _invocation(action)
        yield _escaped(" ".join(parser.help_of(action).split()))


def _invocation(action: argparse.Action) -> str:
    value = action.metavar or (f"{{{','.join(map(str, action.choices))}}}" if action.choices else action.dest.upper())
    value = " ".join(value) if isinstance(value, tuple) else value
    if not action.option_strings:
        return f"\\fI{_escaped(value)}\\fR"
    names = ", ".join(f"\\fB{_escaped(name)}\\fR" for name in action.option_strings)
    return names if action.nargs == 0 else f"{names} \\fI{_escaped(value)}\\fR"


def _subcommands(parser: CommandParser) -> Iterator[tuple[str, CommandParser]]:
    for action in parser.arguments():
        if isinstance(action, argparse._SubParsersAction):
            told: list[CommandParser] = []  # an alias is the same parser again
            for word, inner in action.choices.items():
                if inner not in told:
                    told.append(inner)
                    yield word, inner


def _exit_status(name: str) -> Iterator[str]:
    yield ".SH EXIT STATUS"
    rows = dict(EXIT_CODES[""]) | dict(EXIT_CODES.get(name, ()))
    for status, meaning in sorted(rows.items()):
        yield from (".TP", _escaped(status), _escaped(meaning))


def _page(lines: list[str]) -> str:
    return "\n".join(line for line in lines if line) + "\n"


def _escaped(text: str) -> str:
    """Text with what roff would take for a request or an escape made harmless."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    text = "".join(char if char < "\x7f" else f"\\[u{ord(char):04X}]" for char in text)
    return f"\\&{text}" if text[:1] in ".'" else text
