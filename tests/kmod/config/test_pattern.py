"""Patterns of aliases beside the C library's fnmatch(3)."""

from __future__ import annotations

import ctypes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kobox.kmod.config.pattern import matches

LIBC = ctypes.CDLL(None)


def fnmatch(pattern: str, text: str) -> bool:
    return LIBC.fnmatch(pattern.encode(), text.encode(), 0) == 0


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("pci:v00008086d*sv*sd*bc02sc00i*", "pci:v00008086d0000sv1sd2bc02sc00i00"),
        ("a?c*", "abcd"),
        ("a?c", "ac"),
        ("[abc]*", "b"),
        ("[!a]b", "cb"),
        ("[^a]b", "ab"),
        ("[]]x", "]x"),
        ("[!]]x", "ax"),
        ("[a-c]", "b"),
        ("[a-]", "-"),
        ("[-a]", "-"),
        ("[c-a]", "b"),
        ("a\\*b", "a*b"),
        ("a\\*b", "axb"),
        ("*a?*b[0-9]*", "xxaybzb7"),
        ("**?**", ""),
        ("", ""),
        ("?", ""),
    ],
)
def test_one_pattern(pattern: str, text: str) -> None:
    assert matches(pattern, text) == fnmatch(pattern, text)


@settings(max_examples=600, deadline=None)
@given(st.text("ab*?", max_size=9), st.text("ab", max_size=9))
def test_stars_and_question_marks_are_fnmatch_s(pattern: str, text: str) -> None:
    assert matches(pattern, text) == fnmatch(pattern, text)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.sampled_from(["[ab]", "[!a]", "[a-c]", "*", "?", "c", "[]b]"]), max_size=6), st.text("abc]", max_size=7)
)
def test_brackets_are_fnmatch_s(parts: list[str], text: str) -> None:
    assert matches("".join(parts), text) == fnmatch("".join(parts), text)


def test_no_pattern_takes_long() -> None:
    """A regular expression would try some 10^30 ways to find that this one does not match."""
    assert not matches("*a" * 40 + "?b", "a" * 3000)
    assert not matches("*[ab]" * 40 + "c?", "ab" * 1500)
