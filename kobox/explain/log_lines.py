"""The lines of a log as the kernel or the tool printed them: without what dmesg, the journal or a terminal added.

    [   12.345678] text                        dmesg, with [ T123] or [C1] behind it where CONFIG_PRINTK_CALLER is on
    [Fri Sep 12 11:46:19 2025] text            dmesg -T;  [+0.000012] dmesg -d;  [Sep12 11:46] dmesg -H
    kern  :err   : [   12.3] text              dmesg -x
    <3>[   12.3] text                          dmesg -r, serial consoles
    6,1234,12345678,-;text                     /dev/kmsg, netconsole
    Sep 12 11:46:19 host kernel: text          syslog, journalctl
    2025-09-12T11:46:19.1+02:00 host kernel: text
    Fri Sep 12 11:46:19 2025 kern.err kernel: text          OpenWrt's logread
    09-12 11:46:19.123  0  0 E [kernel]: text  Android's logcat
    {"MESSAGE":"text", …}                      journalctl -o json;  {"log":"text", …} Docker
    name | text                                docker compose

A line may have several of these, one before the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from kobox.json_text import parse_json

_ESCAPES = re.compile(r"\x1b(?:\[[0-9;:?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_BLANKS = re.compile(r"\s+")
_QUOTES = str.maketrans(  # typographic quotes as gcc and translated tools use them, and the colon of East Asia
    {
        "\u2018": "'",
        "\u2019": "'",
        "\u201c": '"',
        "\u201d": '"',
        "\u201e": '"',
        "\u00ab": '"',
        "\u00bb": '"',
        "\uff1a": ": ",
    }
)
_TIME = r"\d{1,2}:\d\d:\d\d(?:[.,]\d+)?"
_PROGRAM = r"[\w./@()+-]+(?:\[\d+\])?:"
_PREFIXES = tuple(
    re.compile(pattern)
    for pattern in (
        r"^[>|]+ ",
        r"^[\w.-]+ +\| ",
        r"^<\d{1,3}>",
        r"^\d+,\d+,\d+,[^;\s]*;",
        r"^(?:kern|user|daemon|syslog|auth\w*) *: *\w+ *: ",
        r"^\[ *\d+\.\d+(?: [<(] *[\d.]+[>)])?\] ?",
        r"^\[ *\+?\d+\.\d+(?:@\d+)?\] ?",
        r"^\[ *[TC]\d+\] ?",
        r"^\[\w{1,5}\.? +\w{1,5}\.? +\d{1,2} " + _TIME + r"(?: \d{4})?\] ?",
        r"^\[\w{3} ?\d{1,2} [\d:]+\] ?",
        r"^\(\d\)\[\d+:[^\]]*\] ?",
        r"^\[\d+:[^\]]*\] ?",
        rf"^\d{{4}}-\d\d-\d\d[T ]{_TIME}(?:Z|[+-]\d\d:?\d\d)? (?:\S+ (?={_PROGRAM} ))?",
        rf"^\w{{2,5}}\.? \d{{4}}-\d\d-\d\d {_TIME} \S+ \S+ (?={_PROGRAM} )",
        rf"^\w{{2,4}} \w{{3}} +\d{{1,2}} {_TIME} \d{{4}} (?:\w+\.\w+ )?(?={_PROGRAM} )",
        rf"^\S{{1,6}} +\d{{1,2}} {_TIME} \S+ (?={_PROGRAM})",
        rf"^\d{{1,2}} {_TIME} \S+ (?={_PROGRAM})",
        rf"^\d\d-\d\d {_TIME} +\d+ +\d+ [VDIWEF] ",
        rf"^{_TIME} ",
        r"^(?:\[kernel\]|kernel): ?",
        r"^(?:\S+ )?kernel: ",
    )
)
_MESSAGES = ("MESSAGE", "log", "msg", "message")  # the journal's, Docker's, and others' names for it
_MOST_PREFIXES = 8


class LogLine(NamedTuple):
    """A line of a log: `text` to be shown, `plain` to be compared (no prefixes, single blanks, ASCII quotes)."""

    text: str
    plain: str


def log_lines(text: str) -> Iterator[LogLine]:
    """The lines of a log, without empty ones."""
    for raw in text.split("\n"):
        shown = visible(raw).strip()
        if shown.startswith("{") and shown.endswith("}"):
            shown = _message(shown)
        if shown:
            yield LogLine(shown, without_prefixes(shown))


def visible(raw: str) -> str:
    """A line without colours and without characters that a terminal would act on or not show."""
    return _UNSEEN.sub("", _ESCAPES.sub("", raw)).replace("\t", " ")


def without_prefixes(line: str) -> str:
    """What the kernel or the tool itself printed, with single blanks."""
    line = _BLANKS.sub(" ", line.translate(_QUOTES)).strip()
    for _ in range(_MOST_PREFIXES):
        for prefix in _PREFIXES:
            shorter = prefix.sub("", line, count=1)
            if shorter != line:
                line = shorter.lstrip()
                break
        else:
            break
    return line


def _message(line: str) -> str:
    try:
        record = parse_json(line)
    except ValueError:
        return line
    message = next((record[key] for key in _MESSAGES if key in record), None) if isinstance(record, dict) else None
    if isinstance(message, list):  # bytes that are not UTF-8
        message = bytes(one for one in message if isinstance(one, int) and 0 <= one < 256).decode(errors="replace")
    return visible(message.replace("\n", " ")) if isinstance(message, str) else line
