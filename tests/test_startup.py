"""NamedTuple and cached_property beside typing's and functools' own, and what the short commands import."""

from __future__ import annotations

import enum
import pickle
import subprocess
import sys
import typing
from collections.abc import Callable
from typing import Any

import pytest

from kobox.startup import IntFlag, NamedTuple, cached_property


class Ours(NamedTuple):
    """A record."""

    name: str
    size: int = 3
    rest: tuple[str, ...] = ()

    @property
    def double(self) -> int:
        """Twice the size."""
        return 2 * self.size

    @classmethod
    def of(cls, text: str) -> Ours:
        """One by its name."""
        return cls(text)


class Theirs(typing.NamedTuple):
    name: str
    size: int = 3
    rest: tuple[str, ...] = ()


def refused(use: Callable[[], object]) -> bool:
    """Whether it is refused: with a ValueError, or since Python 3.13 with a TypeError."""
    try:
        use()
    except (TypeError, ValueError):
        return True
    return False


USES: list[Callable[[Any], object]] = [
    lambda cls: tuple(cls("a")),
    lambda cls: tuple(cls("a", 4, ("x",))),
    lambda cls: tuple(cls(size=5, name="b")),
    lambda cls: tuple(cls("a", rest=("y",))),
    lambda cls: cls._make(["a", 1, ()])._asdict(),
    lambda cls: tuple(cls("a")._replace(size=7)),
    lambda cls: cls("a") == ("a", 3, ()),
    lambda cls: hash(cls("a")) == hash(("a", 3, ())),
    lambda cls: (cls("a").name, cls("a").size, cls("a")[1], len(cls("a"))),
    lambda cls: repr(cls("a")).partition("(")[2],
    lambda cls: (cls._fields, cls._field_defaults, cls.__match_args__),
    lambda cls: sorted([cls("b"), cls("a")])[0].name,
    lambda cls: cls(),
    lambda cls: cls("a", 1, (), 4),
    lambda cls: cls("a", nosuch=1),
    lambda cls: cls("a", name="b"),
    lambda cls: cls._make(["a"]),
    lambda cls: refused(lambda: cls("a")._replace(nosuch=1)),
    lambda cls: setattr(cls("a"), "name", "b"),
    lambda cls: setattr(cls("a"), "other", "b"),
]


def outcome(use: Callable[[Any], object], cls: type) -> object:
    try:
        return use(cls)
    except Exception as error:
        return type(error)


@pytest.mark.parametrize("use", USES)
def test_it_is_typing_s(use: Callable[[Any], object]) -> None:
    assert outcome(use, Ours) == outcome(use, Theirs)


def test_methods_patterns_and_pickles() -> None:
    made = Ours.of("x")._replace(size=8)
    assert (made.double, Ours.__doc__) == (16, "A record.")
    match made:
        case Ours(name, size):
            assert (name, size) == ("x", 8)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(made, protocol))
        assert again == made
        assert type(again) is Ours


def test_a_cached_property_is_computed_once() -> None:
    class Thing:
        count = 0

        @cached_property
        def value(self) -> int:
            """The value."""
            Thing.count += 1
            return Thing.count

    thing = Thing()
    assert (thing.value, thing.value, Thing().value) == (1, 1, 2)
    assert Thing.value.__doc__ == "The value."


class OurFlags(IntFlag):
    """Some flags."""

    NONE = 0
    ONE = 1
    TWO = 2
    FOUR = 4


class TheirFlags(enum.IntFlag):
    NONE = 0
    ONE = 1
    TWO = 2
    FOUR = 4


FLAG_USES: list[Callable[[Any], object]] = [
    lambda cls: int(cls.ONE | cls.FOUR),
    lambda cls: type(cls.ONE | cls.FOUR) is cls and type(cls.ONE & 1) is cls and type(2 | cls.ONE) is cls,
    lambda cls: bool(cls.ONE & cls.TWO),
    lambda cls: int((cls.ONE | cls.TWO) ^ cls.ONE),
    lambda cls: [int(flag) for flag in cls.ONE | cls.FOUR],
    lambda cls: (cls.ONE in cls.ONE | cls.TWO, cls.FOUR in cls.ONE | cls.TWO, cls.NONE in cls.ONE),
    lambda cls: cls.TWO == 2 and cls(64) == 64 and hash(cls.TWO) == hash(2),
    lambda cls: repr(cls.ONE | cls.FOUR).partition("Flags")[2],
    lambda cls: repr(cls.NONE).partition("Flags")[2],
    lambda cls: f"{cls.TWO:d} {int(cls.TWO):#x}",
]


@pytest.mark.parametrize("use", FLAG_USES)
def test_flags_are_enum_s(use: Callable[[Any], object]) -> None:
    assert outcome(use, OurFlags) == outcome(use, TheirFlags)


def test_flags_can_be_pickled_and_have_names() -> None:
    for flag in (OurFlags.TWO, OurFlags.ONE | OurFlags.FOUR):
        again = pickle.loads(pickle.dumps(flag))
        assert again == flag
        assert type(again) is OurFlags


HEAVY = {"typing", "re", "enum", "functools", "collections", "contextlib", "dataclasses", "pathlib", "json", "ctypes"}


@pytest.mark.parametrize(
    "words",
    [
        ["modprobe", "-C", "/dev/null", "-c"],
        ["modprobe", "-q", "-D", "nosuch"],
        ["modprobe", "--help"],
        ["modinfo", "MODULE"],
        ["modinfo", "-b", "TREE", "-k", "1.0", "m"],
        ["lsmod"],
        ["-V"],
    ],
    ids=" ".join,
)
def test_short_commands_import_little(words: list[str], tmp_path: typing.Any) -> None:
    from tests.kmod.module_maker import make_module

    (tmp_path / "m.ko").write_bytes(make_module())
    tree = tmp_path / "lib/modules/1.0"
    tree.mkdir(parents=True)
    (tree / "m.ko").write_bytes(make_module())
    if "TREE" in words:
        subprocess.run([sys.executable, "-m", "kobox", "depmod", "-b", str(tmp_path), "1.0"], check=True)
    words = [word.replace("MODULE", str(tmp_path / "m.ko")).replace("TREE", str(tmp_path)) for word in words]
    code = f"import sys; sys.argv = ['kobox', *{words!r}]; import kobox.cli.main as m; m.main();" + (
        " sys.stderr.write(' '.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True, cwd=".")
    assert not HEAVY & set(done.stderr.split())
