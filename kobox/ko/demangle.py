"""Names of Rust symbols as a reader writes them: `_RNvCs3rXbQtL3RX1_5hello4init` is `hello::init`.

    symbol  "_R" [version] path [crate that instantiates it] [suffix]
    path    C crate · N namespace path name · M impl type · X impl type trait · Y type trait · I path arguments E · B …

Source: RFC 2603, "Rust Symbol Name Mangling v0", and The rustc book, "v0 Symbol Format". Hashes that tell crates of one
name apart are left out. Names come from files and from a kernel's log: lengths are checked, nesting and the number of
steps are bounded, and what is no such name is given back as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_LONGEST = 4096  # of a name, as it is written
_MOST_STEPS = 4096  # backrefs to backrefs would take for ever
_DEEPEST = 128
_LONGEST_TEXT = 1 << 14  # of what comes out
_BASIC = {
    "a": "i8", "b": "bool", "c": "char", "d": "f64", "e": "str", "f": "f32", "h": "u8", "i": "isize", "j": "usize",
    "l": "i32", "m": "u32", "n": "i128", "o": "u128", "p": "_", "s": "i16", "t": "u16", "u": "()", "v": "...",
    "x": "i64", "y": "u64", "z": "!",
}  # fmt: skip
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_IN_TEXT = re.compile(r"(?<![A-Za-z0-9_])_R[A-Z0-9][A-Za-z0-9_]{2,4000}")


class _NoRustNameError(Exception):
    """It is none."""


def demangle(name: str) -> str:
    """A symbol's name as Rust writes it; other names as they are."""
    mangled, dot, _ = name.partition(".")
    if not mangled.startswith("_R") or len(mangled) > _LONGEST or not mangled.isascii():
        return name
    parser = _Parser(mangled[2:])
    try:
        text = parser.path(in_value=True)
        if parser.at < len(parser.text):
            parser.path(in_value=False)  # the crate that instantiates it
    except (_NoRustNameError, IndexError, RecursionError):
        return name
    return text if parser.at == len(parser.text) or dot else name


def demangle_text(text: str) -> str:
    """A line with every Rust symbol in it as Rust writes it."""
    return _IN_TEXT.sub(lambda found: demangle(found[0]), text) if "_R" in text else text


class _Parser:
    """Reads one name behind its `_R`. Every method reads one production, and gives its text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self._steps = 0
        self._depth = 0
        self._size = 0
        self._bound = 0  # lifetimes that binders have named so far

    def path(self, *, in_value: bool) -> str:
        """`in_value`: generic arguments are written with `::`."""
        self._enter()
        tag = self._next()
        if tag == "C":
            found = self._identifier()[0]
        elif tag == "N":
            found = self._nested(in_value)
        elif tag in "MX":
            self._disambiguator()
            self.path(in_value=False)  # where the impl stands
            found = self._implementation(tag == "X")
        elif tag == "Y":
            found = self._implementation(True)
        elif tag == "I":
            outer = self.path(in_value=in_value)
            found = f"{outer}{'::' if in_value else ''}<{', '.join(self._until_end(self._argument))}>"
        elif tag == "B":
            found = self._back(lambda: self.path(in_value=in_value))
        else:
            raise _NoRustNameError
        return self._leave(found)

    def _nested(self, in_value: bool) -> str:
        space = self._next()
        outer = self.path(in_value=in_value)
        name, number = self._identifier()
        if space.isupper():
            kind = {"C": "closure", "S": "shim"}.get(space, space)
            return f"{outer}::{{{kind}{f':{name}' if name else ''}#{number}}}"
        return f"{outer}::{name}" if name else outer

    def _implementation(self, of_trait: bool) -> str:
        kind = self.type()
        return f"<{kind} as {self.path(in_value=False)}>" if of_trait else f"<{kind}>"

    def type(self) -> str:
        """A type."""
        self._enter()
        tag = self._next()
        if tag in _BASIC:
            found = _BASIC[tag]
        elif tag in "AS":
            element = self.type()
            found = f"[{element}; {self._constant()}]" if tag == "A" else f"[{element}]"
        elif tag == "T":
            parts = self._until_end(self.type)
            found = f"({parts[0]},)" if len(parts) == 1 else f"({', '.join(parts)})"
        elif tag in "RQ":
            lifetime = self._lifetime() if self._peek() == "L" else ""
            mutable = "mut " if tag == "Q" else ""
            found = f"&{f'{lifetime} ' if lifetime else ''}{mutable}{self.type()}"
        elif tag in "PO":
            found = f"*{'const' if tag == 'P' else 'mut'} {self.type()}"
        elif tag == "F":
            found = self._function()
        elif tag == "D":
            found = self._dynamic()
        elif tag == "B":
            found = self._back(self.type)
        else:
            self.at -= 1
            found = self.path(in_value=False)
        return self._leave(found)

    def _function(self) -> str:
        before = self._bound
        binder = self._binder()
        unsafe = "unsafe " if self._take("U") else ""
        abi = ""
        if self._take("K"):
            name = "C" if self._take("C") else self._plain_identifier().replace("_", "-")
            abi = f'extern "{name}" '
        parameters = ", ".join(self._until_end(self.type))
        result = self.type()
        self._bound = before
        return f"{binder}{unsafe}{abi}fn({parameters}){'' if result == '()' else f' -> {result}'}"

    def _dynamic(self) -> str:
        before = self._bound
        binder = self._binder()
        traits = " + ".join(self._until_end(self._trait))
        self._bound = before
        lifetime = self._lifetime()
        return f"dyn {binder}{traits}{f' + {lifetime}' if lifetime else ''}"

    def _trait(self) -> str:
        name = self.path(in_value=False)
        bindings = []
        while self._take("p"):
            bindings.append(f"{self._plain_identifier()} = {self.type()}")
        if not bindings:
            return name
        return f"{name[:-1]}, {', '.join(bindings)}>" if name.endswith(">") else f"{name}<{', '.join(bindings)}>"

    def _argument(self) -> str:
        if self._peek() == "L":
            return self._lifetime() or "'_"
        return self._constant() if self._take("K") else self.type()

    def _constant(self) -> str:
        self._enter()
        if self._take("B"):
            return self._leave(self._back(self._constant))
        kind = self._next()
        if kind == "p":
            return self._leave("_")
        if kind not in "abchijlmnostxy":
            raise _NoRustNameError
        negative = self._take("n")
        end = self.text.find("_", self.at)
        digits = self.text[self.at : end] if end >= 0 else "?"
        if not re.fullmatch(r"[0-9a-f]{0,64}", digits):
            raise _NoRustNameError
        self.at = end + 1
        value = int(digits or "0", 16)
        if kind == "b":
            return self._leave("true" if value else "false")
        if kind == "c":
            return self._leave(repr(chr(value)) if value < 0x110000 else "?")
        return self._leave(f"{'-' if negative else ''}{value}")

    def _lifetime(self) -> str:
        if not self._take("L"):
            raise _NoRustNameError
        number = self._base_62()
        if not number:
            return ""
        depth = self._bound - number
        if depth < 0:
            raise _NoRustNameError
        return f"'{chr(97 + depth)}" if depth < 26 else f"'_{depth}"

    def _binder(self) -> str:
        if not self._take("G"):
            return ""
        count = self._base_62() + 1
        if count > 64:
            raise _NoRustNameError
        names = [f"'{chr(97 + n)}" if n < 26 else f"'_{n}" for n in range(self._bound, self._bound + count)]
        self._bound += count
        return f"for<{', '.join(names)}> "

    # -- words -------------------------------------------------------------------------------------------------

    def _identifier(self) -> tuple[str, int]:
        number = self._disambiguator()
        return self._plain_identifier(), number

    def _plain_identifier(self) -> str:
        encoded = self._take("u")
        found = re.compile(r"(0|[1-9][0-9]{0,3})_?").match(self.text, self.at)
        if found is None or found.end() + int(found[1]) > len(self.text):
            raise _NoRustNameError
        start = self.at = found.end()
        self.at += int(found[1])
        name = self.text[start : self.at]
        if not encoded:
            return name
        head, _, tail = name.rpartition("_")
        try:
            return (
                f"{head}-{tail}".lstrip("-").encode().decode("punycode") if head else tail.encode().decode("punycode")
            )
        except UnicodeError:
            return f"punycode{{{name}}}"

    def _disambiguator(self) -> int:
        return self._base_62() + 1 if self._take("s") else 0

    def _base_62(self) -> int:
        """ "_" is 0, "0_" is 1, and so on."""
        end = self.text.find("_", self.at)
        digits = self.text[self.at : end] if end >= 0 else "?"
        if len(digits) > 16 or any(digit not in _DIGITS for digit in digits):
            raise _NoRustNameError
        self.at = end + 1
        value = 0
        for digit in digits:
            value = value * 62 + _DIGITS.index(digit)
        return value + 1 if digits else 0

    def _back(self, read: Callable[[], str]) -> str:
        start = self.at - 1
        target = self._base_62()
        if target >= start:
            raise _NoRustNameError
        here, self.at = self.at, target
        try:
            return read()
        finally:
            self.at = here

    def _until_end(self, read: Callable[[], str]) -> list[str]:
        found: list[str] = []
        while not self._take("E"):
            self._step()
            found.append(read())
        return found

    def _next(self) -> str:
        self.at += 1
        return self.text[self.at - 1]

    def _peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def _take(self, letter: str) -> bool:
        if self._peek() != letter:
            return False
        self.at += 1
        return True

    def _step(self) -> None:
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise _NoRustNameError

    def _enter(self) -> None:
        self._step()
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _NoRustNameError

    def _leave(self, text: str) -> str:
        self._depth -= 1
        if len(text) > _LONGEST_TEXT:
            raise _NoRustNameError
        return text
