"""The console blocks of the documentation: what is typed in them, what they show, and whether they are run.

A block is

    <!-- not run: REASON -->        (or nothing, or <!-- exits with 1 -->, <!-- exits with 0, 1 -->: a status a command)
    ```console
    $ COMMAND                       for bash; goes on in lines that begin with `> `, or behind a backslash
    what it prints                  an ellipsis stands for anything
    (gdb) COMMAND                   typed at the prompt of the program that COMMAND is
    ```
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = sorted(str(path.relative_to(ROOT)) for path in [ROOT / "README.md", *ROOT.glob("docs/*.md")])
PROMPT = re.compile(r"(\S+:[~/\w]*# |\(gdb\) |>>> |\.\.\. )(.*)")
_BLOCK = re.compile(r"(?:^<!-- ([^\n]*) -->\n)?^```console\n(.*?)^```$", re.M | re.S)


@dataclass
class Typed:
    """A line typed at a program's prompt, and what is shown after it."""

    text: str
    prompt: str
    shown: list[str] = field(default_factory=list)


@dataclass
class Command:
    """A line for bash, what is shown after it, and what is typed while it runs."""

    text: str
    status: int
    shown: list[str] = field(default_factory=list)
    typed: list[Typed] = field(default_factory=list)


@dataclass(frozen=True)
class Block:
    """One console block: the line it begins in, why it is not run (or nothing), and its commands."""

    line: int
    reason: str
    commands: tuple[Command, ...]


def blocks_in(page: str) -> list[Block]:
    """The console blocks of a page, in order. Raises `AssertionError` where one says nothing that can be run."""
    text = (ROOT / page).read_text()
    blocks = []
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start(2))
        comment = match[1] or ""
        reason = comment.removeprefix("not run: ") if comment.startswith("not run: ") else ""
        statuses = [int(word) for word in re.findall(r"\d+", comment)] if comment.startswith("exits with") else [0]
        commands = [] if reason else _commands(match[2].splitlines(), statuses)
        assert reason or commands, f"{page}:{line}: nothing to run, and no reason"
        blocks.append(Block(line, reason, tuple(commands)))
    return blocks


def _commands(lines: list[str], statuses: list[int]) -> list[Command]:
    commands: list[Command] = []
    shown: list[str] | None = None
    going_on = False
    for line in lines:
        prompt = PROMPT.match(line)
        if line.startswith("$ "):
            commands.append(Command(line[2:], statuses[min(len(commands), len(statuses) - 1)]))
            shown = commands[-1].shown
        elif going_on or (line.startswith("> ") and commands and not shown and not commands[-1].typed):
            commands[-1].text += "\n" + line.removeprefix("> ")
        elif prompt and commands:
            commands[-1].typed.append(Typed(prompt[2], prompt[1]))
            shown = commands[-1].typed[-1].shown
        else:
            assert shown is not None, f"output without a command: {line}"
            shown.append(line)
        going_on = line.endswith("\\") and line.startswith(("$ ", "> "))
    return commands


def without_figures(line: str) -> str:
    """A line without what differs from run to run, and from kernel to kernel."""
    line = re.sub(r"\d+\.\d+\.\d+[\w.+-]*", "RELEASE", line)
    line = re.sub(r"0x[0-9a-f]+|\b[0-9a-f]{8,}\b|\b[0-9A-F]{16,}\b", "N", line)
    line = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", line)
    line = re.sub(r"\d[\d,]*([.:]\d+)*(?: ?[num]?s\b)?", "N", line)
    return re.sub(r"\s+", " ", re.sub(r"\s*N\b", " N", line)).strip()


def missing(shown: list[str], printed: str) -> list[str]:
    """Those of the shown lines that were not printed; an ellipsis, or three dots, stand for anything."""
    have = [without_figures(line) for line in printed.splitlines()]
    lost = []
    for line in shown:
        parts = re.split(r"…|\.\.\.", without_figures(line))
        pattern = re.compile(
            ".*".join(re.escape(part.strip()) if len(parts) > 1 else re.escape(part) for part in parts)
        )
        whole = pattern.search if len(parts) > 1 else pattern.fullmatch
        if not any(whole(one) for one in have):
            lost.append(line)
    return lost
