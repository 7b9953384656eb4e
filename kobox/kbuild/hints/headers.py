"""What the headers of a cached kernel say of a name: where it is declared, and how.

    include/linux/timer.h     extern int timer_delete_sync(struct timer_list *timer);

This is a reader of text, no compiler: of several declarations under #ifdef the first counts, and a name that a macro
makes is not seen. It is asked only after a build has failed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from kobox.images.kernel_image import KernelImage

_LARGEST = 4 << 20
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
# What stands before a function's name in its declaration, and what shows that it is no declaration.
_HEAD = re.compile(r"[\w\s*(),\"]*[\w*]\s*")
_NO_HEAD = re.compile(r"\b(return|else|do|case|goto|if|while|for|switch|typeof|sizeof)\b|^\s*$")
_Reader = Callable[[str, str], Iterator[str]]
_INCLUDE = re.compile(r"^include\s+(\S+)/Makefile\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Declaration:
    """A declaration in one line of C, and the header it stands in, as an #include names it."""

    header: str
    text: str


class KernelHeaders:
    """The headers of one kernel, read when they are first asked for."""

    def __init__(self, kernel: KernelImage) -> None:
        self.kernel = kernel
        self._texts: dict[str, dict[str, str]] = {}

    @cached_property
    def roots(self) -> list[Path]:
        """The include directories, the kernel's own first."""
        if self.kernel.headers is None:
            return []
        trees = [self.kernel.headers, self.kernel.headers / "source"]
        makefile = self.kernel.headers / "Makefile"
        if makefile.is_file() and makefile.stat().st_size < 4096:  # a small one includes that of the source tree
            text = makefile.read_text(errors="replace").replace("$(kobox_src)", str(self.kernel.headers.parent))
            trees += [Path(path) for path in _INCLUDE.findall(text)]
        found = [
            path
            for tree in trees
            for below in ("include", "arch/*/include", "arch/*/include/generated")
            for path in sorted(tree.glob(below))
        ]
        return [path for path in dict.fromkeys(path.resolve() for path in found) if path.is_dir()]

    @cached_property
    def files(self) -> dict[str, Path]:
        """Every header by the name that an #include gives it."""
        found: dict[str, Path] = {}
        for root in self.roots:
            for path in sorted(root.rglob("*.h")):
                name = str(path.relative_to(root))
                # include/uapi is a root of its own; where linux/x.h stands in both, it is the kernel's that counts
                found.setdefault(name.removeprefix("uapi/").removeprefix("generated/"), path)
        return found

    def prepare(self, names: Collection[str]) -> None:
        """Read the headers once for all these names."""
        wanted = [name for name in names if name not in self._texts]
        if not wanted:
            return
        self._texts.update({name: {} for name in wanted})
        pattern = re.compile(rb"\b(" + b"|".join(re.escape(name).encode() for name in wanted) + rb")\b")
        for header, path in self.files.items():
            if path.stat().st_size > _LARGEST:
                continue
            content = path.read_bytes()
            hits = {match[0].decode() for match in pattern.finditer(content)}
            if hits:
                text = _COMMENT.sub(" ", content.decode(errors="replace"))
                for name in hits:
                    self._texts[name][header] = text

    def containing(self, name: str) -> dict[str, str]:
        """The headers that have a word in them, with their text."""
        self.prepare([name])
        return self._texts[name]

    def function(self, name: str) -> Declaration | None:
        """The prototype of a function, or the head of a macro that takes arguments."""
        return self._first(name, _functions)

    def constant(self, name: str) -> Declaration | None:
        """A macro without arguments, or an enumeration constant."""
        return self._first(name, _constants)

    def type(self, name: str) -> Declaration | None:
        """A structure, union, enumeration or typedef."""
        return self._first(name, _types)

    def any(self, name: str) -> Declaration | None:
        """Whatever a name is declared as."""
        return self.function(name) or self.type(name) or self.constant(name)

    def member(self, container: str, name: str) -> Declaration | None:
        """A member of a structure or union."""
        for header, text in self.containing(container).items():
            for match in re.finditer(rf"\b(?:struct|union)\s+{re.escape(container)}\s*\{{", text):
                body = _body(text, match.end())
                found = re.search(rf"(?:^|[;{{}}])\s*([^;{{}}]*[\s*(]{re.escape(name)}\b[^;{{}}]*);", body)
                if found:
                    return Declaration(header, f"{one_line(_behind_directives(found[1]))};")
        return None

    def condition(self, name: str) -> str:
        """The CONFIG_… option under whose #if a name is declared, "" for none."""
        declared = self.any(name)
        if declared is None:
            return ""
        text = self.containing(name)[declared.header]
        place = re.search(rf"^(?:[ \t]*#[ \t]*define[ \t]+|[^#\n]*\b){re.escape(name)}\b", text, re.MULTILINE)
        conditions: list[str] = []
        for line in text[: place.start() if place else 0].split("\n"):
            directive = re.match(r"\s*#\s*(if\w*|elif|else|endif)\b(.*)", line)
            if directive is None:
                continue
            if directive[1] in ("else", "elif", "endif") and conditions:
                conditions.pop()
            if directive[1] != "endif":
                conditions.append(directive[2] if directive[1] in ("if", "ifdef", "elif") else "")
        options = [match[0] for one in conditions if (match := re.search(r"\bCONFIG_\w+", one)) and "!" not in one]
        return options[-1] if options else ""

    def has_header(self, name: str) -> bool:
        """Whether `#include <NAME>` finds a file."""
        return name in self.files

    def headers_with(self, names: Collection[str]) -> dict[str, int]:
        """The headers that declare functions or types of these names, and how many each."""
        self.prepare(names)
        counts: dict[str, int] = {}
        for name in names:
            found = self.any(name)
            if found:
                counts[found.header] = counts.get(found.header, 0) + 1
        return counts

    def functions_of(self, header: str) -> dict[str, str]:
        """The prototypes in a header: name to text."""
        path = self.files.get(header)
        if path is None:
            return {}
        text = _COMMENT.sub(" ", path.read_text(errors="replace"))
        found: dict[str, str] = {}
        for name in dict.fromkeys(re.findall(r"\b([a-z_]\w+)\s*\(", text)):
            prototype = next(_functions(text, name), "")
            if prototype:
                found[name] = prototype
        return found

    def _first(self, name: str, reader: _Reader) -> Declaration | None:
        texts = self.containing(name)
        for header in sorted(texts, key=_rank):
            text = next(reader(texts[header], name), "")
            if text:
                return Declaration(header, text)
        return None


def one_line(text: str) -> str:
    """C in one line, without the words that say nothing about an interface."""
    text = re.sub(r"\b(extern|static|inline|__always_inline|__must_check|noinline)\b", " ", text)
    text = re.sub(r"\s*,\s*", ", ", " ".join(text.split()))
    return (
        re.sub(r"\*\s+(?=\w)", "*", re.sub(r"(?<=\()\s+|\s+(?=\))", "", text))
        .replace(")__", ") __")
        .replace(") (", ")(")
    )


def parameters(prototype: str) -> tuple[str, ...]:
    """The types of a prototype's parameters, without their names."""
    inside = prototype[prototype.find("(") + 1 : prototype.rfind(")")]
    return tuple(re.sub(r"[\s*]*\w+$", "", one.strip()) or one.strip() for one in inside.split(","))


def _functions(text: str, name: str) -> Iterator[str]:
    macro = re.search(rf"^[ \t]*#[ \t]*define[ \t]+{re.escape(name)}\(([^)]*)\)", text, re.MULTILINE)
    for match in re.finditer(rf"\b{re.escape(name)}\s*\(", text):
        start = max(text.rfind(mark, 0, match.start()) for mark in ";{}") + 1
        head = _behind_directives(text[start : match.start()])
        if not _HEAD.fullmatch(head) or _NO_HEAD.search(head) or head.count("(") != head.count(")"):
            continue
        end = _closing(text, match.end())
        if re.match(r"\s*[;{_a-zA-Z]", text[end : end + 40]):
            yield f"{one_line(head + text[match.start() : end])};"
    if macro:
        yield f"#define {name}({macro[1]})"


def _constants(text: str, name: str) -> Iterator[str]:
    macro = re.search(rf"^[ \t]*#[ \t]*define[ \t]+{re.escape(name)}(?:[ \t]+([^\n]*))?$", text, re.MULTILINE)
    if macro:
        yield f"#define {name} {(macro[1] or '').strip()[:60]}".strip()
    for body in re.findall(r"\benum\b[^{};()]*\{([^}]*)\}", text):
        constant = re.search(rf"(?:^|,)\s*({re.escape(name)}\b\s*(?:=[^,]*)?)(?:,|$)", body.strip())
        if constant:
            yield f"enum {{ {one_line(constant[1])} }}"


def _types(text: str, name: str) -> Iterator[str]:
    match = re.search(rf"\b(struct|union|enum)\s+{re.escape(name)}\s*\{{", text)
    if match:
        yield f"{match[1]} {name} {{ … }}"
    escaped = re.escape(name)
    match = re.search(rf"\btypedef\b[^;{{}}]*(?:[\s*]{escaped}(?:\[[^;]*)?|\(\*\s*{escaped}\)[^;{{}}]*);", text)
    match = match or re.search(rf"\btypedef\b[^;{{}}()]*[\s*]{escaped}\s*\([^;{{}}]*\)\s*;", text)
    if match:
        yield one_line(match[0])
    elif re.search(rf"\}}\s*{re.escape(name)}\s*;", text):
        yield f"typedef struct {{ … }} {name};"


def _behind_directives(text: str) -> str:
    """What follows the last preprocessor line."""
    lines = text.split("\n")
    last = max((n for n, line in enumerate(lines) if line.lstrip().startswith("#")), default=-1)
    return "\n".join(lines[last + 1 :]).strip(" \t\n") + " "


def _closing(text: str, at: int) -> int:
    """The position behind the parenthesis that closes the one before `at`."""
    depth = 1
    for index in range(at, min(len(text), at + 4000)):
        depth += (text[index] == "(") - (text[index] == ")")
        if not depth:
            return index + 1
    return len(text)


def _body(text: str, at: int) -> str:
    """What stands between the brace before `at` and the one that closes it."""
    depth = 1
    for match in re.compile(r"[{}]").finditer(text, at):
        depth += 1 if match[0] == "{" else -1
        if not depth:
            return text[at : match.start()]
    return text[at:]


def _rank(header: str) -> tuple[bool, int, str]:
    return not header.startswith(("linux/", "net/", "crypto/", "scsi/", "drm/", "sound/")), len(header), header
