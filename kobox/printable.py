r"""Text from a module, a kernel or a file, made safe for a terminal.

A control character in a log line or a name can clear the screen, set its title or forge a line of output. Such
characters are shown as the kernel's /dev/kmsg shows them (msg_add_escaped() in kernel/printk/printk.c): `\xNN` for each
byte of their UTF-8. So are bytes that are not UTF-8, and all else that `str.isprintable` rejects: characters that
reorder or hide text, line and paragraph separators. Everything else, a backslash included, stays as it is.
"""

from __future__ import annotations

_SPACES = frozenset("\t\u00a0\u1680\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B))))


def printable(text: str) -> str:
    r"""The text with its control characters escaped. Newlines and tabs stay: for text of several lines."""
    if text.isprintable():
        return text
    return "\n".join(line if line.replace("\t", " ").isprintable() else _escape(line) for line in text.split("\n"))


def one_line(text: str) -> str:
    r"""The text with its control characters escaped, newlines too: for a name or a value within a line."""
    return printable(text).replace("\n", "\\x0a")


def html_text(text: str, *, quote: bool = True) -> str:
    r"""The text for a page of HTML: markup and control characters escaped; newlines and tabs stay."""
    from html import escape  # the short commands import this file

    return escape(printable(text), quote=quote)


def _escape(line: str) -> str:
    return "".join(one if one.isprintable() or one in _SPACES else _escaped(one) for one in line)


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte that could not be decoded (PEP 383)
        return f"\\x{ord(character) - 0xDC00:02x}"
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogatepass"))
