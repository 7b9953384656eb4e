"""A tool's man page, made of its --help: man(7).

    usage: TOOL ...             SYNOPSIS
    a paragraph                 DESCRIPTION
      -a, --all   text          OPTIONS
    a line that ends with `:`   a section of its own

So a page says nothing that --help does not say.
"""

from __future__ import annotations

import re

_OPTION = re.compile(r"^ {2,6}(-\S.*?)(?: {2,}(\S.*))?$")
_ENTRY = re.compile(r"^ {2}(\S.*?) {2,}(\S.*)$")


def man_page(tool: str, text: str, summary: str, version: str) -> str:
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


def _escaped(text: str) -> str:
    """Text with what roff would take for a request or an escape made harmless."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text[:1] in ".'" else text
