"""The configuration of modprobe: modprobe.d, the kernel command line, and what the modules themselves say.

    alias PATTERN MODULE            blacklist MODULE         options MODULE PARAMETERS...
    install MODULE COMMAND...       remove MODULE COMMAND...
    softdep MODULE pre: M... post: M...                      weakdep MODULE M...
    forbid MODULE...                never loaded, not even as a dependency (kobox only)
    allow MODULE...                 once there is one, nothing else is loaded (kobox only); patterns are fine

On the kernel command line: `module.parameter=value`, `module.parameter="two words"`, `modprobe.blacklist=a,b`.
Source: modprobe.d(5), and for the command line Documentation/admin-guide/kernel-parameters.rst.
"""

from __future__ import annotations

from kobox.kmod.config.directories import config_files, default_directories, read_config
from kobox.kmod.config.lines import logical_lines
from kobox.ko.name import canonical, canonical_alias
from kobox.startup import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Softdep(NamedTuple):
    """Modules to load before and after another one, if they are there."""

    module: str
    pre: tuple[str, ...]
    post: tuple[str, ...]


class Config(NamedTuple):
    """A configuration, in the order in which it was read. Module names have underscores.

    modules.softdep and modules.weakdep of a tree are read among the files, by their names: `early_softdeps` and
    `early_weakdeps` are the numbers of entries that come before theirs; -1 for all.
    """

    aliases: tuple[tuple[str, str], ...] = ()
    blacklist: tuple[str, ...] = ()
    options: tuple[tuple[str, str], ...] = ()
    installs: tuple[tuple[str, str], ...] = ()
    removes: tuple[tuple[str, str], ...] = ()
    softdeps: tuple[Softdep, ...] = ()
    weakdeps: tuple[tuple[str, tuple[str, ...]], ...] = ()
    forbidden: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    early_softdeps: int = -1
    early_weakdeps: int = -1

    def is_allowed(self, module: str) -> bool:
        """Whether the forbid and allow lists let this module be loaded at all."""
        if module in self.forbidden:
            return False
        if not self.allowed:
            return True
        from kobox.kmod.config.pattern import matches

        return any(matches(pattern, module) for pattern in self.allowed)

    def with_softdeps(self, softdep_text: str, weakdep_text: str) -> Config:
        """This configuration with a tree's modules.softdep and modules.weakdep."""
        if "softdep" not in softdep_text and "weakdep" not in weakdep_text:
            return self
        reader = ConfigReader()
        reader.read(softdep_text, "modules.softdep")
        reader.read(weakdep_text, "modules.weakdep")
        more = reader.config()
        soft = len(self.softdeps) if self.early_softdeps < 0 else self.early_softdeps
        weak = len(self.weakdeps) if self.early_weakdeps < 0 else self.early_weakdeps
        return self._replace(
            softdeps=self.softdeps[:soft] + more.softdeps + self.softdeps[soft:],
            weakdeps=self.weakdeps[:weak] + more.weakdeps + self.weakdeps[weak:],
        )


def load(paths: Sequence[str] = (), command_line: str = "") -> Config:
    """Read the given files and directories, or else the machine's modprobe.d directories, then a command line."""
    reader = ConfigReader()
    early_softdeps = early_weakdeps = 0
    for path in config_files(paths or default_directories("modprobe.d")):
        try:
            text = read_config(path)
        except OSError as error:
            reader.problems.append(f"{path}: {error.strerror}")
        else:
            reader.read(text, path)
        name = path.rpartition("/")[2]
        early_softdeps = len(reader.softdeps) if name < "modules.softdep" else early_softdeps
        early_weakdeps = len(reader.weakdeps) if name < "modules.weakdep" else early_weakdeps
    reader.read_command_line(command_line)
    return reader.config()._replace(early_softdeps=early_softdeps, early_weakdeps=early_weakdeps)


class ConfigReader:
    """Collects directives, file by file."""

    def __init__(self) -> None:
        self.aliases: list[tuple[str, str]] = []
        self.blacklist: list[str] = []
        self.options: list[tuple[str, str]] = []
        self.installs: list[tuple[str, str]] = []
        self.removes: list[tuple[str, str]] = []
        self.softdeps: list[Softdep] = []
        self.weakdeps: list[tuple[str, tuple[str, ...]]] = []
        self.forbidden: list[str] = []
        self.allowed: list[str] = []
        self.problems: list[str] = []

    def config(self) -> Config:
        """What was read so far."""
        return Config(
            tuple(self.aliases),
            tuple(self.blacklist),
            tuple(self.options),
            tuple(self.installs),
            tuple(self.removes),
            tuple(self.softdeps),
            tuple(self.weakdeps),
            tuple(self.forbidden),
            tuple(self.allowed),
            tuple(self.problems),
        )

    def read(self, text: str, path: str) -> None:
        """Read one file's text; what can't be understood becomes a problem, and the rest still counts."""
        for line, number in logical_lines(text):
            directive, rest = _word(line)
            if directive in ("include", "config"):
                self.problems.append(f"{path}: command {directive} is deprecated and not parsed anymore")
            elif not self._directive(directive, rest):
                self.problems.append(f"{path} line {number}: ignoring bad line starting with '{directive}'")

    def _directive(self, directive: str, rest: str) -> bool:
        name, rest = _word(rest)
        if not name:
            return False
        try:
            module = canonical_alias(name)
        except ValueError:
            return False
        if directive == "alias":
            return self._alias(name, _word(rest)[0])
        if directive == "blacklist":
            self.blacklist.append(module)
        elif directive in ("options", "install", "remove"):
            if not rest:
                return False
            table = {"options": self.options, "install": self.installs, "remove": self.removes}[directive]
            table.append((module, rest))
        elif directive in ("softdep", "weakdep") and not rest:
            return False
        elif directive == "softdep":
            self.softdeps.append(parse_softdep(module, rest))
        elif directive == "weakdep":
            self.weakdeps.append((module, tuple(rest.split())))
        elif directive == "forbid":
            self.forbidden += [module, *map(canonical, rest.split())]
        elif directive == "allow":
            self.allowed += [module, *map(canonical, rest.split())]
        else:
            return False
        return True

    def _alias(self, pattern: str, module: str) -> bool:
        try:
            key = canonical_alias(pattern)
        except ValueError:
            return False
        if not module:
            return False
        self.aliases.append((key, canonical(module)))
        return True

    def read_command_line(self, text: str) -> None:
        """Read the kernel's command line."""
        for module, parameter in command_line_options(text):
            name, equals, value = parameter.partition("=")
            try:
                key = canonical_alias(module)
            except ValueError:
                self.problems.append(f"kernel command line: ignoring bad module name '{module}'")
                continue
            if module == "modprobe" and name == "blacklist" and equals:
                self.blacklist += [canonical(each) for each in value.strip('"').split(",") if each]
            else:
                self.options.append((key, parameter))


def parse_softdep(module: str, text: str) -> Softdep:
    """Take `pre: a b post: c` apart; words before the first of the two are of no kind and don't count."""
    kinds: dict[str, list[str]] = {"pre:": [], "post:": []}
    current: list[str] = []
    for word in text.split():
        if word in kinds:
            current = kinds[word]
        else:
            current.append(word)
    return Softdep(module, tuple(kinds["pre:"]), tuple(kinds["post:"]))


def _word(text: str) -> tuple[str, str]:
    """(the first word, what stands behind the one blank after it)."""
    text = text.lstrip(" \t")
    for place, character in enumerate(text):
        if character in " \t":
            return text[:place], text[place + 1 :]
    return text, ""


def command_line_options(text: str) -> Iterator[tuple[str, str]]:
    """(module, `parameter` or `parameter=value`) for each such word of a kernel command line.

    The words that modprobe takes for options of modules:

        module.parameter  module.parameter=value  module.parameter="two words"  "module.parameter=two words"

    The last form, which boot loaders make of the third, is given back as the third. Words of any other form are left
    out: with a quote or a second dot before the `=`, without a closing quote. What follows `--` is init's.
    """
    for word in _split_quoted(text):
        if word == "--":
            return
        whole = word.startswith('"')
        name, equals, value = word[whole:].partition("=")
        module, dot, parameter = name.partition(".")
        if not dot or not module or not parameter or "." in parameter or '"' in name or " " in name:
            continue
        if (whole and not equals) or (whole + value.count('"')) % 2:
            continue
        yield module, f'{parameter}{equals}"{value}' if whole else parameter + equals + value


def _split_quoted(text: str) -> Iterator[str]:
    """The words of a text: whitespace inside double quotes does not split."""
    word, quoted = "", False
    for character in text:
        if character == '"':
            quoted = not quoted
        if character in " \t\n\v\f\r" and not quoted:
            if word:
                yield word
            word = ""
        else:
            word += character
    if word:
        yield word
