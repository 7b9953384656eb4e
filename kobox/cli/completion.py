"""`kobox completion bash|zsh|fish`: a script for the shell, to be sourced.

    source <(kobox completion bash)        eval "$(kobox completion zsh)"        kobox completion fish | source

The script knows the commands; a command's options it reads from that command's own --help when they are asked for.
"""

from __future__ import annotations

import argparse

_BASH = """_kobox() {
    local word="${COMP_WORDS[COMP_CWORD]}"
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W "@COMMANDS@ --help --version" -- "$word"))
    elif [ "${word#-}" != "$word" ]; then
        COMPREPLY=($(compgen -W "$("${COMP_WORDS[0]}" "${COMP_WORDS[1]}" --help 2>/dev/null |
            grep -oE -- '--[a-z][a-z-]*' | sort -u)" -- "$word"))
    fi
}
complete -o default -F _kobox kobox
"""
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
_ZSH = "autoload -U +X bashcompinit && bashcompinit\n" + _BASH
_FISH = """complete -c kobox -n __fish_use_subcommand -f -a '@COMMANDS@'
complete -c kobox -n 'not __fish_use_subcommand' -f -a '(
    set -l words (commandline -opc); string match -q -- "-*" (commandline -ct); and
    kobox $words[2] --help 2>/dev/null | string match -ra -- "--[a-z][a-z-]*" | sort -u)'
"""
_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def tool_completion(tool: str) -> str:
    """The script for one of the kmod tools, called by its own name, in bash."""
    return _TOOL.replace("@TOOL@", tool).replace("@WORDS@", _WORDS.get(tool, ":"))


def main(argv: list[str], prog: str) -> int:
    """Entry point of the subcommand."""
    from kobox.cli.main import COMMANDS

    parser = argparse.ArgumentParser(prog=prog, description="Print a completion script for a shell.")
    parser.add_argument("shell", choices=sorted(_SCRIPTS))
    arguments = parser.parse_args(argv)
    print(_SCRIPTS[arguments.shell].replace("@COMMANDS@", " ".join(COMMANDS)), end="")
    return 0
