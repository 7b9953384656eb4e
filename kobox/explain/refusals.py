"""A refused call as a tool reports it, by the text of the error alone.

    modprobe: ERROR: could not insert 'x': Key was rejected by service          kmod
    FATAL: Error inserting x (/lib/modules/…/x.ko): Invalid module format       module-init-tools
    insmod: can't insert 'x.ko': unknown symbol in module, or unknown parameter busybox
    insmod: failed to load x.ko: Exec format error                              toybox
    Failed to insert module 'x': No such device                                 systemd-modules-load
    finit_module(3, "", 0) = -1 EEXIST (File exists)                            strace

What stands behind the colon is looked up in the tools' own words and in the C libraries' texts, of all languages.
"""

from __future__ import annotations

import errno as numbers
import os
import re
from dataclasses import dataclass

from kobox.explain.errno_texts import TRANSLATED
from kobox.explain.log_rule import LONGEST_LINE

_NAMES = [
    "EPERM",
    "ENOENT",
    "ESRCH",
    "EINTR",
    "EIO",
    "ENXIO",
    "ENOEXEC",
    "EBADF",
    "EAGAIN",
    "ENOMEM",
    "EACCES",
    "EFAULT",
    "EBUSY",
    "EEXIST",
    "EXDEV",
    "ENODEV",
    "EINVAL",
    "EFBIG",
    "ENOSPC",
    "ERANGE",
    "ENOSYS",
    "ELOOP",
    "EOPNOTSUPP",
    "EBADMSG",
    "ENODATA",
    "ETIME",
    "ENOPKG",
    "EPROTO",
    "ELIBBAD",
    "ETIMEDOUT",
    "EALREADY",
    "ENOKEY",
    "EKEYEXPIRED",
    "EKEYREVOKED",
    "EKEYREJECTED",
    "EADDRINUSE",
    "EPROBE_DEFER",
]
# What other C libraries and the tools themselves say, in lower case.
_OTHER_WORDS = {
    "invalid module format": "ENOEXEC",
    "unknown symbol in module, or unknown parameter (see dmesg)": "ENOENT",
    "unknown symbol in module, or unknown parameter": "ENOENT",
    "unknown symbol in module": "ENOENT",
    "unknown symbol in module or invalid parameter": "ENOENT",
    "module has wrong symbol version": "ESRCH",
    "invalid parameters": "EINVAL",
    "no such module": "ENOENT",
    "kernel does not have unload support": "ENOSYS",
    "kernel does not support requested operation": "ENOSYS",
    "out of memory": "ENOMEM",
    "not supported": "EOPNOTSUPP",
    "operation not supported on transport endpoint": "EOPNOTSUPP",
    "resource busy": "EBUSY",
    "try again": "EAGAIN",
    "operation would block": "EAGAIN",
    "module is in use": "EAGAIN",
    "no such device or address": "ENXIO",
    "i/o error": "EIO",
    "aucun fichier ou répertoire de ce type": "ENOENT",
    "ne peut allouer de la mémoire": "ENOMEM",
    "periphérique ou ressource occupé": "EBUSY",
    "formato del exec erróneo": "ENOEXEC",
}
# What stands behind a message in JSON, in Markdown, or at the end of a sentence.
_QUOTING = re.compile(r"(?:\\[nr]|[\"'`,;.!\s])*$")
_APOSTROPHES = {0x2019: "'"}
_FILE = r"[`'\"]?(?P<file>[^'\":]+?)[`'\"]?"
_SAID = r": ?(?P<said>.+)$"
_LOADS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"LoadWithAliases was unable to load {_FILE}, error{_SAID}",
        rf"could not (?:insert|load)(?: module)? {_FILE}{_SAID}",
        rf"cannot (?:insert|load)(?: module)? {_FILE}(?: \([^)]*\))?{_SAID}",
        rf"init_module {_FILE} failed (?P<said>\(.+\))$",
        rf"error inserting {_FILE}(?: \([^)]*\))?{_SAID}",
        rf"can't (?:insert|load)(?: module)? {_FILE}(?: \([^)]*\))?{_SAID}",
        rf"couldn't (?:insert|load)(?: module)? {_FILE}(?: \([^)]*\))?{_SAID}",
        rf"failed to (?:insert|load|insmod|init)(?: kernel)?(?: module)? {_FILE}(?: with args '[^']*')?{_SAID}",
        rf"unable to (?:insert|load)(?: kernel)?(?: module)? {_FILE}{_SAID}",
        rf"finit_module for {_FILE} failed{_SAID}",
        r"^(?P<file>[\w./-]+): not loaded: (?P<said>.+)$",
        r"\bf?init_module\((?P<file>[^)]*)\) *= -1 (?P<said>E[A-Z]+)",
    )
)
_UNLOADS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"could not remove(?: module)? {_FILE}{_SAID}",
        rf"error removing {_FILE}(?: \([^)]*\))?{_SAID}",
        rf"\bremoving {_FILE}{_SAID}",
        rf"(?:can't|couldn't|failed to|unable to) (?:unload|remove)(?: kernel)?(?: module)? {_FILE}{_SAID}",
        r"^(?P<file>[\w./-]+): not unloaded: (?P<said>.+)$",
        r"\bdelete_module\(\"(?P<file>[^\"]*)\"[^)]*\) *= -1 (?P<said>E[A-Z]+)",
    )
)
_ANY = re.compile(r"(?:\b(?:insmod|modprobe|rmmod|kmod|depmod|module|modul\w*)\b|\.ko\b)", re.IGNORECASE)
_QUOTED = re.compile(r"[`'\"](?P<file>[\w./+-]+)['\"]")
_BY_PATH = re.compile(r"(?P<file>[\w./+-]+\.ko(?:\.\w+)?)")
_UNLOADING = re.compile(r"\brmmod\b|remov|unload|entlad|entfern|décharg|выгруз|удал|卸载|移除", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refused load, or unload: the module's name, and the errno's name; either may be "" where it is unknown."""

    module: str
    errno: str
    unload: bool


def errno_of(said: str) -> str:
    """The errno's name behind a text, of any C library, tool or language; "" for none known."""
    named = re.search(r"\((E[A-Z0-9]+)\)\W*$|^(E[A-Z]{2,})$", said.strip())
    if named and (name := (named[1] or named[2]).replace("EWOULDBLOCK", "EAGAIN")) in _NAMES:
        return name
    plain = _QUOTING.sub("", re.sub(r"^-?\d+ ", "", said.strip().lower())).translate(_APOSTROPHES)
    plain = re.sub(r", ?", ", ", plain)
    if (found := _BY_TEXT.get(plain) or _BY_TEXT.get(plain.strip("()"))) is None:
        found = _BY_TEXT.get(plain.partition("(")[0].strip()) or _BY_TEXT.get(plain.rpartition(": ")[2])
    return found or ""


def _by_text() -> dict[str, str]:
    table: dict[str, str] = {}
    for name, texts in TRANSLATED.items():
        table.update((text.translate(_APOSTROPHES), name) for text in texts)
    for name in _NAMES:
        if number := getattr(numbers, name, 0):
            table[os.strerror(number).lower()] = name
    return table | _OTHER_WORDS


_BY_TEXT = _by_text()


def refusal_in(line: str) -> Refusal | None:
    """The refused load or unload that a line of a tool is about, or None. An unknown error text gives errno ""."""
    line = line[:LONGEST_LINE]
    unknown: Refusal | None = None
    for patterns, unload in ((_UNLOADS, True), (_LOADS, False)):
        for pattern in patterns:
            match = pattern.search(line)
            if match is not None:
                found = Refusal(_module_of(match["file"]), errno_of(match["said"]), unload)
                if found.errno:
                    return found
                unknown = unknown or (found if found.module else None)
    return unknown or _refusal_in_other_words(line)


def _refusal_in_other_words(line: str) -> Refusal | None:
    """A line of a tool that nobody foresaw, which ends in a known error text."""
    if _ANY.search(line) is None or ":" not in line:
        return None
    head, _, said = line.rpartition(": ")
    if not head or not (errno := errno_of(said)):
        return None
    named = _QUOTED.search(head) or _BY_PATH.search(head)
    return Refusal(_module_of(named["file"]) if named else "", errno, _UNLOADING.search(head) is not None)


def _module_of(file: str) -> str:
    """A module's name from its path or the arguments of a system call."""
    file = file.strip().strip("`'\"")
    name = os.path.basename(file.split(" (")[0]).split(".ko")[0].replace("-", "_")
    return name if re.fullmatch(r"\w+", name) and not name.isdigit() else ""
