"""Help for an interface that is another one in the kernel that is built for: from the table, and from the headers.

    del_timer_sync() is gone since 6.15: use timer_delete_sync().
      before: del_timer_sync(t);
      now:    timer_delete_sync(t);
      6.1.0-56-cloud-amd64      <linux/timer.h>  int del_timer_sync(struct timer_list *timer);
      7.2.13+deb14-cloud-amd64  not there

The table says what to do; the headers of every cached kernel say what is where. No release is compared: the table's
sentences hold for both sides of a change.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from kobox.images.exports import KernelExports
from kobox.images.kernel_config import read_config
from kobox.images.kernel_image import KernelImage
from kobox.kbuild.hints.changes import InterfaceChange, changes, changes_of
from kobox.kbuild.hints.diagnostics import Diagnostic
from kobox.kbuild.hints.headers import Declaration, KernelHeaders, parameters
from kobox.kbuild.hints.releases import ordered

_HEADER_WORDS = 40  # of a header that is gone, so many of its functions are looked for elsewhere
# What follows from another error, and words that no kernel declares.
_NO_INTERFACE = frozenset({"init_module", "cleanup_module", "int", "void", "char", "if", "return", "else", "struct"})


@dataclass(frozen=True, slots=True)
class InterfaceAdviser:
    """The headers of the kernel that was built for (`here`), and those of the other cached kernels.

    Of a log from elsewhere `release` is the kernel that was built for: changes that are newer do not count, and what
    the table knows is not looked up in the headers (they are another kernel's, and reading them takes a second).
    """

    here: KernelHeaders
    others: tuple[KernelHeaders, ...]
    release: str = ""

    @classmethod
    def of(cls, kernel: KernelImage, others: Sequence[KernelImage], *, release: str = "") -> InterfaceAdviser:
        """For a kernel, beside the others that have headers; of equal releases one is enough."""
        beside = {one.name: KernelHeaders(one) for one in others if one.headers and one.digest != kernel.digest}
        return cls(KernelHeaders(kernel), tuple(beside.values()), release)

    def advise(self, diagnostics: Sequence[Diagnostic]) -> Iterator[str]:
        """A paragraph for each diagnostic that something is known about."""
        for _, text in self.explained(diagnostics):
            yield text

    def explained(self, diagnostics: Sequence[Diagnostic]) -> Iterator[tuple[Diagnostic, str]]:
        """(diagnostic, paragraph) for each that something is known about."""
        wanted = {
            word
            for one in diagnostics
            if not (self.release and self._known(one))
            for word in (one.name, one.container)
            if re.fullmatch(r"\w+", word)
        }
        for headers in (self.here, *self.others):
            headers.prepare(wanted)
        explained: set[str] = set()
        told: set[str] = set()
        for one in diagnostics:
            worth = one.name not in _NO_INTERFACE and (len(one.name) > 2 or self._known(one))
            if worth and one.key not in explained:
                explained.add(one.key)
                text = "\n".join(self._paragraph(one, told))
                if text:
                    yield one, text

    def changed(self, diagnostics: Sequence[Diagnostic]) -> Iterator[str]:
        """A paragraph for each diagnostic that the table of changes explains, and nothing for others."""
        told: set[str] = set()
        for one in diagnostics:
            if self._known(one):
                yield "\n".join(self._paragraph(one, told))

    def _paragraph(self, one: Diagnostic, told: set[str]) -> Iterator[str]:
        """`told` holds the advice that was given already: for the next name of a family it is not given again."""
        known = self._known(one)
        for change in known:
            if change.new in told:
                yield f"{change.name} is gone as well, since {change.when}."
            else:
                yield from change.lines()
            told.add(change.new)
        if one.kind == "header":
            yield from self._header(one.name, told=bool(known))
            return
        if known and self.release:
            return
        here, there = self._declarations(one)
        if not known:
            yield from self._guess(one, here, there)
        yield from _side_by_side(self.here.kernel, here, there)

    def _known(self, one: Diagnostic) -> list[InterfaceChange]:
        """The table's rows, those that fit the kind of message; an unknown name has nothing to do with arguments."""
        rows = changes_of(one.key)
        if not rows and one.kind in ("callback", "read-only", "member") and not one.container:
            rows = tuple(row for row in changes() if row.name.endswith(f".{one.name}"))
            rows = rows if len(rows) == 1 else tuple(row for row in rows if _takes(one.text, row))
        if one.kind == "syntax" and not rows:  # `static int __devinit f(void)`: the message names f alone
            words = dict.fromkeys(re.findall(r"\b[A-Za-z_]\w+\b", one.code))
            rows = tuple(row for word in words for row in changes_of(word) if row.kind == "gone")
        if (
            one.kind == "name" and not rows
        ):  # MODULE_IMPORT_NS(NAME): the macro has changed, not what is in its brackets
            called = re.findall(rf"\b(\w+)\(\s*(?:\w+\s*,\s*)?{re.escape(one.name)}\b", one.code)
            rows = tuple(row for name in called for row in changes_of(name) if row.kind == "changed")
        if one.kind in ("function", "name", "type") and any(row.kind == "changed" for row in rows):
            if self.here.any(one.name) is None:
                rows = tuple(row for row in rows if row.kind != "changed") or rows
        elif one.kind in ("arguments", "argument"):
            rows = tuple(row for row in rows if row.kind in ("changed", "unexported"))
        if self.release:
            rows = tuple(row for row in rows if ordered(row.since) <= ordered(self.release))
        return list(rows)

    def _declarations(self, one: Diagnostic) -> tuple[Declaration | None, dict[str, Declaration | None]]:
        """What a name is declared as here, and in each other kernel by its name."""
        asked: Callable[[KernelHeaders], Declaration | None]
        if one.container:
            asked = lambda headers: headers.member(one.container, one.name)  # noqa: E731
        else:
            asked = lambda headers: headers.any(one.name)  # noqa: E731
        return asked(self.here), {headers.kernel.name: asked(headers) for headers in self.others}

    def _guess(self, one: Diagnostic, here: Declaration | None, there: dict[str, Declaration | None]) -> Iterator[str]:
        """What can be said of a name that the table does not have."""
        kernel = self.here.kernel.name
        if one.kind not in ("function", "name", "syntax", "type", "member"):
            if here and any(other and other.text != here.text for other in there.values()):
                yield f"{one.key} differs between kernels:"
            elif here and one.kind in ("arguments", "argument") and "discards" not in one.text:
                yield f"{one.name} is declared in <{here.header}>: {here.text}"
        elif here:
            yield from self._declared(one, here)
        elif any(there.values()):
            yield f"{one.key} is not in {kernel}{self._renamed(one, there)}"
        elif one.kind == "function":
            yield from self._newer(one.name) or self._misspelt(one.name)

    def _declared(self, one: Diagnostic, here: Declaration) -> Iterator[str]:
        """A name that the compiler does not know and the headers have."""
        if one.kind in ("member", "syntax"):
            return
        option = self.here.condition(one.name)
        called = f"{one.name}()" if one.kind == "function" else one.name
        if option and not _is_set(self.here.kernel, option):
            yield f"{called} is there only with {option}, which {self.here.kernel.name} is built without."
        else:
            yield f"{called} exists in {self.here.kernel.name}: add #include <{here.header}>."

    def _renamed(self, one: Diagnostic, there: dict[str, Declaration | None]) -> str:
        """What took a name's place: a new function of the same header, of the same parameters or a similar name."""
        old = next(found for found in there.values() if found)
        then = next(headers for headers in self.others if there[headers.kernel.name] is old)
        if one.container or "(" not in old.text:
            return ":"
        before, now = then.functions_of(old.header), self.here.functions_of(old.header)
        new = {name: text for name, text in now.items() if name not in before or name in difflib_near(one.name, now)}
        likely = [name for name in difflib_near(one.name, new) if name != one.name]
        likely += [name for name in new if parameters(new[name]) == parameters(old.text) and name not in likely]
        return f"; <{old.header}> has {', '.join(f'{name}()' for name in likely[:3])}:" if likely else ":"

    def _newer(self, name: str) -> list[str]:
        """For a name that is newer than this kernel: the older one that the table has for it."""
        older = [row for row in changes() if re.search(rf"\b{name}\(", row.new) and self.here.any(row.name)]
        return [f"{name}() is newer than {self.here.kernel.name}, which has {row.name}()." for row in older[:1]]

    def _misspelt(self, name: str) -> list[str]:
        near = [other for other in KernelExports(self.here.kernel).near(name) if other != name]
        meant = f": did you mean {near[0]}()?" if near else ", nor to any other cached kernel. Check its spelling."
        return [f"{name}() is not known to {self.here.kernel.name}{meant}"]

    def _header(self, name: str, *, told: bool) -> Iterator[str]:
        """Where a header was, and where what it declared is now."""
        if self.here.has_header(name) or not name.count("/"):
            return
        having = [headers for headers in self.others if headers.has_header(name)]
        if having:
            yield f"  <{name}> is in {', '.join(headers.kernel.name for headers in having)}, not in {_name(self.here)}."
            if not told:
                yield from self._moved(name, having[-1])
        elif not told:
            same = [header for header in self.here.files if header.endswith(f"/{name.rpartition('/')[2]}")]
            near = same[:3] or difflib.get_close_matches(name, self.here.files, 1, 0.9)
            if near:
                yield f"<{name}> is not in {_name(self.here)}; it has {', '.join(f'<{one}>' for one in near)}."

    def _moved(self, name: str, having: KernelHeaders) -> Iterator[str]:
        declared = list(having.functions_of(name))[:_HEADER_WORDS]
        counts = self.here.headers_with(declared)
        best = sorted(counts, key=lambda header: -counts[header])[:2]
        if best:
            yield f"  What it declares is now in {' and '.join(f'<{one}>' for one in best)}."


def _takes(text: str, row: InterfaceChange) -> bool:
    """Whether a callback of these types is a member of the row's structure: i2c_client goes with i2c_driver."""
    family = row.name.partition(".")[0].partition("_")[0]
    return any(name.partition("_")[0] == family for name in re.findall(r"struct (\w+)", text))


def difflib_near(name: str, among: dict[str, str]) -> list[str]:
    """Names that share most of their words with `name`, the likeliest first."""
    words = set(name.split("_"))
    near = {other: len(words & set(other.split("_"))) / max(len(words), len(other.split("_"))) for other in among}
    return sorted((other for other, share in near.items() if share > 0.6), key=lambda other: -near[other])


def _side_by_side(kernel: KernelImage, here: Declaration | None, there: dict[str, Declaration | None]) -> Iterator[str]:
    """One line a kernel, where they differ. Kernels that agree share a line; this kernel comes last."""
    if all(other == here for other in there.values()):
        return
    groups: dict[Declaration | None, list[str]] = {}
    for name, found in there.items():
        groups.setdefault(found, []).append(name)
    others = groups.pop(here, [])
    groups[here] = [kernel.name, *others]
    labels = {found: names[0] + (f" + {len(names) - 1}" if names[1:] else "") for found, names in groups.items()}
    width = max(map(len, labels.values()))
    for found, label in labels.items():
        told = f"<{found.header}>  {found.text}" if found else "not there"
        yield f"  {label:<{width}}  {told}"


def _is_set(kernel: KernelImage, option: str) -> bool:
    return option.removeprefix("CONFIG_") in read_config(kernel)


def _name(headers: KernelHeaders) -> str:
    return headers.kernel.name
