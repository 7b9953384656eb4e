"""What DKMS builds: the dkms.conf of a source directory, and the files that belong to the source (dkms(8)).

    PACKAGE_NAME="thing"                     where it lies: /usr/src/thing-0.1
    PACKAGE_VERSION="0.1"                    "#MODULE_VERSION#" is filled in by the packager (dh_dkms)
    BUILT_MODULE_NAME[0]="thing"             one entry a module
    DEST_MODULE_LOCATION[0]="/updates/dkms"

dkms.conf is bash; plain assignments, with variables that are assigned before them, are all that is read here. Nothing
is run. A directory without one gets one, if its Makefile names its modules plainly.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kobox.errors import KoboxError
from kobox.kbuild.build import kbuild_for
from kobox.kbuild.deb import Member
from kobox.kbuild.shadow_tree import KBUILD_FILES, is_made

_ASSIGNMENT = re.compile(r"^\s*(?:export\s+)?(\w+)(?:\[(\d+)\])?=(.*)$")
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_OBJECTS = re.compile(r"^\s*obj-m\s*[:+]?=(.*)$", re.MULTILINE)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]*")
_SECRET = re.compile(rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----")
# Not needed to build a module: tests, packaging, what people and tools leave behind.
_NO_SOURCE = re.compile(r"debian|__pycache__|conftest\.py|test_.*\.py|.*\.(?:deb|pyc|p7s|swp|orig|rej)|.*~")
_SECRET_NAMES = (".key", ".p12", ".pfx")


@dataclass(frozen=True, slots=True)
class DkmsConfig:
    """A dkms.conf: its text as it is packaged, and what it says."""

    name: str
    version: str
    modules: tuple[str, ...]
    text: str
    exclusive: bool = False

    @property
    def directory(self) -> str:
        """Where DKMS looks for the source, relative to the root."""
        return f"usr/src/{self.name}-{self.version}"


@dataclass(frozen=True, slots=True)
class DkmsSource:
    """A source directory's files by their path in it. `left_out` are those that were left out because of a secret,
    `newest` is the latest of their times."""

    files: dict[str, Member]
    left_out: tuple[str, ...]
    newest: int

    def word(self, macro: str) -> str:
        """The first string that MACRO("…") has in the C sources, "" for none."""
        for path, member in sorted(self.files.items()):
            found = re.search(rb"\b" + macro.encode() + rb'\s*\(\s*"((?:[^"\\]|\\.)*)"\s*\)', member.content)
            if path.endswith((".c", ".h")) and found:
                return found[1].decode(errors="replace")
        return ""


def configuration(directory: Path, source: DkmsSource, *, name: str = "", version: str = "") -> DkmsConfig:
    """The dkms.conf of a source directory, or one made for it. `name` and `version` count more than what is there.

    Raises KoboxError when it does not say what DKMS needs.
    """
    given = source.files.get("dkms.conf")
    text = given.content.decode(errors="surrogateescape") if given else _made(directory, source)
    version = version or _meant(text, source)
    for key, value in (("PACKAGE_NAME", name), ("PACKAGE_VERSION", version)):
        if value:
            check_word(value, key)  # so no backslash is in it, which sub() would read
            text = re.sub(rf"^\s*{key}=.*$", f'{key}="{value}"', text, flags=re.MULTILINE)
    said = assignments(text)
    where = directory / "dkms.conf"
    for key in ("PACKAGE_NAME", "PACKAGE_VERSION"):
        if key not in said:
            raise KoboxError(f"{where}: it does not say {key}", hint=f'Add the line {key}="…" to it.')
        check_word(said[key], f"{where}: {key}")
    modules = tuple(value for key, value in said.items() if key.startswith("BUILT_MODULE_NAME"))
    if not modules and "MAKE" not in said:
        modules = (said["PACKAGE_NAME"],)  # dkms: a single module may go without, and is then called like the package
    exclusive = "BUILD_EXCLUSIVE_CONFIG" in said
    return DkmsConfig(said["PACKAGE_NAME"], said["PACKAGE_VERSION"], modules, text, exclusive)


def check_word(value: str, what: str) -> None:
    """Raise KoboxError for what cannot be part of the path and of the commands that DKMS makes of it."""
    if not _NAME.fullmatch(value):
        raise KoboxError(f"{what}: {value!r}", hint="Letters, digits and + . _ - only; the first a letter or digit.")


def assignments(text: str) -> dict[str, str]:
    """The plain assignments of a dkms.conf, `NAME` or `NAME[0]`, with the variables in them filled in."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        match = _ASSIGNMENT.match(line)
        if match is None:
            continue
        try:
            words = shlex.split(match[3], comments=True)
        except ValueError:  # a string that goes on in the next line: no name or version does
            continue
        value = _VARIABLE.sub(lambda one: found.get(one[1] or one[2], one[0]), words[0] if words else "")
        found[match[1] + (f"[{match[2]}]" if match[2] else "")] = value
    return found


def _meant(text: str, source: DkmsSource) -> str:
    """The version that stands for a placeholder such as #MODULE_VERSION#."""
    said = assignments(text).get("PACKAGE_VERSION", "")
    if not re.search(r"[#@]", said):
        return ""
    version = source.word("MODULE_VERSION")
    if not version:
        raise KoboxError(f"dkms.conf leaves its version open ({said})", hint="Give one: --version.")
    return version


def _made(directory: Path, source: DkmsSource) -> str:
    modules = _modules_of(directory, source)
    lines = [f'PACKAGE_NAME="{modules[0]}"', f'PACKAGE_VERSION="{source.word("MODULE_VERSION") or "0.1"}"']
    for index, module in enumerate(modules):
        lines += [f'BUILT_MODULE_NAME[{index}]="{module}"', f'DEST_MODULE_LOCATION[{index}]="/updates/dkms"']
    return "\n".join([*lines, 'AUTOINSTALL="yes"', ""])


def _modules_of(directory: Path, source: DkmsSource) -> list[str]:
    """The modules that a Makefile names in obj-m."""
    texts = [source.files[name].content.decode(errors="replace") for name in KBUILD_FILES if name in source.files]
    words = [word for text in texts for line in _OBJECTS.findall(text) for word in line.split("#")[0].split()]
    modules = list(dict.fromkeys(word.removesuffix(".o") for word in words))
    if not modules or any(not word.endswith(".o") or "$" in word for word in words):
        raise KoboxError(
            f"{directory}: it has no dkms.conf, and its Makefile does not name its modules plainly in obj-m",
            hint="Write a dkms.conf with PACKAGE_NAME, PACKAGE_VERSION, BUILT_MODULE_NAME[0], DEST_MODULE_LOCATION[0].",
        )
    return modules


def source_of(directory: Path) -> DkmsSource:
    """The source files of a directory: without what a build leaves, hidden files, tests, and private keys.

    A directory of bare C files gets a Makefile. Raises KoboxError when there is no source.
    """
    if not directory.is_dir():
        raise KoboxError(f"{directory}: not a directory", hint="Give the directory of the module's source.")
    files: dict[str, Member] = {}
    left_out: list[str] = []
    newest = 0
    for path in _walk(directory):
        name = str(path.relative_to(directory))
        member = _member(path, directory)
        if _SECRET.search(member.content) or path.suffix in _SECRET_NAMES:
            left_out.append(name)
            continue
        files[name] = member
        newest = max(newest, int(path.lstat().st_mtime))
    if not any(name in files for name in KBUILD_FILES):
        files["Makefile"] = Member(_makefile(kbuild_for(directory)).encode())
    return DkmsSource(files, tuple(left_out), newest)


def _walk(directory: Path) -> Iterator[Path]:
    for path in sorted(directory.iterdir()):
        if path.name.startswith(".") or _NO_SOURCE.fullmatch(path.name) or is_made(directory, path.name):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)
        elif path.exists():
            yield path


def _member(path: Path, directory: Path) -> Member:
    """A file; a link within the directory stays one, a link out of it becomes what it leads to."""
    if path.is_symlink() and not os.path.isabs(path.readlink()):
        inside = path.resolve().is_relative_to(directory.resolve())
        if inside:
            return Member(link=str(path.readlink()))
    if path.is_dir():
        raise KoboxError(f"{path}: a link to a directory outside of the source", hint="Copy what is needed into it.")
    return Member(path.read_bytes(), 0o755 if os.access(path, os.X_OK) else 0o644)


def _makefile(kbuild: str) -> str:
    """Lines of a Kbuild as a Makefile that serves Kbuild and `make` by hand: the templates' own."""
    own = Path(__file__).parent / "templates/common/Makefile"
    return own.read_text().replace("obj-m := skeleton.o\n", kbuild)
