"""`kobox completion bash|zsh|fish`: a script for the shell, to be sourced.

    source <(kobox completion bash)        source <(kobox completion zsh)        kobox completion fish | source

The scripts hold no words of their own: they hand the command line to `kobox completion words`, which asks the command's
own parser, and the cache for names of kernels and boxes.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator

from kobox.cli.parser import CommandParser, parser_of
from kobox.errors import KoboxError
from kobox.printable import printable

# The last word may be empty. Without an answer the shell takes files.
_BASH = """_kobox() {
    local IFS=$'\\n'
    local before=("${COMP_WORDS[@]:1:COMP_CWORD-1}") word="${COMP_WORDS[COMP_CWORD]}"
    COMPREPLY=($("${COMP_WORDS[0]}" completion words -- "${before[@]}" "$word" 2>/dev/null))
}
complete -o default -o bashdefault -F _kobox kobox
"""
_ZSH = """#compdef kobox
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit -u }
_kobox() {
    local -a found
    found=("${(@f)$("${words[1]}" completion words -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n "${found[*]}" ]]; then
        compadd -- "${found[@]}"
    else
        _files
    fi
}
compdef _kobox kobox
"""
_FISH = """function __kobox_words
    set -l words (commandline -opc) (commandline -ct)
    set -l found (command $words[1] completion words -- $words[2..-1] 2>/dev/null)
    if test (count $found) -gt 0
        printf '%s\\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c kobox -f -a '(__kobox_words)'
"""
_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
# What may stand where an option does not: names of modules, by the tool's name. $REPLY is the word so far.
_WORDS = {
    "modprobe": "_kobox_names",
    "modinfo": "_kobox_names",
    "rmmod": "_kobox_loaded",
    "kmod": "echo help links list lsmod insmod rmmod modprobe modinfo depmod static-nodes",
}
_TOOL = """_kobox_names() {
    cut -d: -f1 "/lib/modules/$(uname -r)/modules.dep" 2>/dev/null | sed 's|.*/||; s|\\.ko.*||'
}
_kobox_loaded() {
    cut -d' ' -f1 /proc/modules 2>/dev/null
}
_kobox_@TOOL@() {
    local word="${COMP_WORDS[COMP_CWORD]}"
    COMPREPLY=()
    if [ "${word#-}" != "$word" ]; then
        COMPREPLY=($(compgen -W "$("${COMP_WORDS[0]}" --help 2>/dev/null |
            grep -oE -- '--[a-z][a-z-]*' | sort -u)" -- "$word"))
    elif [ "${word#*/}" = "$word" ]; then
        COMPREPLY=($(compgen -W "$(@WORDS@)" -- "$word"))
    fi
}
complete -o default -F _kobox_@TOOL@ @TOOL@
"""
_KERNEL_OPTIONS = ("kernel", "kernels", "elsewhere")


def tool_completion(tool: str) -> str:
    """The script for one of the kmod tools, called by its own name, in bash."""
    return _TOOL.replace("@TOOL@", tool).replace("@WORDS@", _WORDS.get(tool, ":"))


def main(argv: list[str], prog: str) -> int:
    """Entry point of the subcommand."""
    if argv[:2] == ["words", "--"]:
        print("".join(f"{printable(word)}\n" for word in words(argv[2:])), end="")
        return 0
    parser = CommandParser(prog=prog, description="Print a completion script for a shell.")
    parser.add_argument("shell", choices=sorted(_SCRIPTS), help="the shell that is to source it")
    arguments = parser.parse_args(argv)
    print(_SCRIPTS[arguments.shell], end="")
    return 0


def words(line: list[str]) -> list[str]:
    """What the last word of a command line (without `kobox` itself) may become; nothing where it is a file."""
    if len(line) > 1 and line[-1] == "=":  # bash takes = for a word of its own
        line = [*line[:-1], ""]
    elif len(line) > 2 and line[-2] == "=":
        line = [*line[:-2], line[-1]]
    *before, word = line or [""]
    return list(dict.fromkeys(found for found in _candidates(before, word) if found.startswith(word)))


def _candidates(before: list[str], word: str) -> Iterator[str]:
    from kobox.cli.main import COMMANDS, MULTICALL
    from kobox.cli.topics import topics

    if not before:
        yield from (*COMMANDS, "help", "--help", "--version", "--color")
        return
    name, *rest = before
    if name == "help":
        yield from (*topics(), *COMMANDS)
    elif name in MULTICALL:
        yield from _of_tool(name, word)
    elif name in COMMANDS:
        command = __import__(COMMANDS[name][0], fromlist=["main"])
        parser = parser_of(command.main, f"kobox {name}")
        if parser is not None:
            yield from _of_parser(parser, rest, word)


def _of_parser(parser: CommandParser, before: list[str], word: str) -> Iterator[str]:
    at = 0
    for index, one in enumerate(before):
        action = parser.option_action(one)
        if action is not None:
            if action.nargs != 0 and index == len(before) - 1:
                yield from _of_action(parser, action)
                return
            continue
        previous = parser.option_action(before[index - 1]) if index else None
        if one.startswith("-") or (previous is not None and previous.nargs != 0):
            continue
        places = parser.positionals()
        place = places[min(at, len(places) - 1)] if places else None
        if place is not None and isinstance(place.choices, dict) and one in place.choices:
            below = place.choices[one]
            assert isinstance(below, CommandParser)
            yield from _of_parser(below, before[index + 1 :], word)
            return
        at += 1
    option, is_value, _ = word.partition("=")
    if is_value and (action := parser.option_action(option)) is not None:
        yield from (f"{option}={value}" for value in _of_action(parser, action))
    elif word.startswith("-"):
        yield from (option for option in parser.options() if option.startswith("--"))
    elif (places := parser.positionals()) and (at < len(places) or places[-1].nargs in ("*", "+")):
        yield from _of_action(parser, places[min(at, len(places) - 1)])


def _of_action(parser: CommandParser, action: argparse.Action) -> Iterator[str]:
    """The values of an option or an argument, as far as there is a list of them."""
    if action.metavar == "WHEN":
        yield from ("auto", "always", "never")
    elif action.choices is not None:
        yield from map(str, action.choices)
    elif action.dest in _KERNEL_OPTIONS or (
        parser.prog.startswith("kobox kernel") and action.dest in ("name", "names")
    ):
        yield from _kernels()
    elif action.dest == "plug":
        from kobox.devices.ready import READY

        yield from READY
    elif action.metavar == "TEMPLATE":
        from kobox.kbuild.new import TEMPLATES

        yield from TEMPLATES
    elif action.metavar == "LESSON":
        from kobox.lessons.lesson import lessons

        yield from (lesson.name for lesson in lessons())
    elif action.dest == "load" or action.metavar == "BOX":
        from kobox.apps.saved_boxes import saved_boxes
        from kobox.images.store import Store

        yield from (box.name for box in saved_boxes(Store()))
    elif action.dest == "source" and parser.prog == "kobox kernel add":
        yield from (
            "debian",
            "debian/bookworm",
            "debian/trixie",
            "debian/sid",
            "debian:arm64",
            "debian:riscv64",
            "host",
        )


def _kernels() -> Iterator[str]:
    from kobox.images.store import Store

    try:
        yield from (kernel.name for kernel in Store().list())
    except (KoboxError, OSError):
        return


def _of_tool(name: str, word: str) -> Iterator[str]:
    """Of a kmod tool: its options, and the modules of this machine's kernel or those that are loaded."""
    if word.startswith("-"):
        import contextlib
        import io

        from kobox.cli.main import COMMANDS

        shown = io.StringIO()
        with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
            __import__(COMMANDS[name][0], fromlist=["main"]).main(["--help"], f"kobox {name}")
        yield from sorted(set(re.findall(r"--[a-z][a-z-]*", shown.getvalue())))
    elif name == "rmmod":
        yield from _column("/proc/modules", " ")
    elif name in ("modprobe", "modinfo") and "/" not in word:
        for path in _column(f"/lib/modules/{os.uname().release}/modules.dep", ":"):
            yield os.path.basename(path).partition(".ko")[0]


def _column(path: str, separator: str) -> Iterator[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            yield from (line.partition(separator)[0] for line in file)
    except OSError:
        return
