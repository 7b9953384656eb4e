"""The trie files: read and written, fuzzed."""

from __future__ import annotations

import contextlib
import fnmatch
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kobox.kmod.config.pattern import matches
from kobox.kmod.index.native_core import superfasthash as native_superfasthash
from kobox.kmod.index.trie import Index, IndexFormatError, Value, build, build_partly, encode_value
from tests.kmod_fixtures import Tree

KEYS = st.text(st.sampled_from("ab_:*?v0"), max_size=12)


def test_every_index_of_a_tree_is_written_back_as_it_was(cloud: Tree) -> None:
    paths = [path for path in cloud.path.glob("*.bin") if path.stat().st_size]
    assert len(paths) == 5
    for path in paths:
        index = Index.open(str(path))
        entries = [
            (key.encode(), encode_value(value.text.encode(), value.priority))
            for key, values in index.items()
            for value in values
        ]
        assert build(entries) == path.read_bytes()


@given(st.dictionaries(KEYS, st.lists(st.text("xyz", min_size=1, max_size=3), min_size=1, max_size=3), max_size=20))
def test_what_is_written_is_read(table: dict[str, list[str]]) -> None:
    entries = [(k.encode(), encode_value(v.encode(), n)) for k, values in table.items() for n, v in enumerate(values)]
    index = Index(build(entries))
    assert dict(index.items()) == {k: [Value(v, n) for n, v in enumerate(values)] for k, values in table.items()}
    for key, values in table.items():
        assert [value.text for value in index.search(key)] == values


@given(st.lists(KEYS, max_size=20, unique=True), st.text(st.sampled_from("ab_:v0"), max_size=12))
def test_wildcards_find_what_fnmatch_finds(patterns: list[str], name: str) -> None:
    index = Index(build((pattern.encode(), encode_value(pattern.encode(), 0)) for pattern in patterns))
    expected = sorted(pattern for pattern in patterns if fnmatch.fnmatchcase(name, pattern))
    assert sorted(value.text for value in index.search_wild(name)) == expected


@given(st.text(st.sampled_from("ab*?[]!-\\"), max_size=8), st.text(st.sampled_from("ab]-"), max_size=6))
def test_no_pattern_makes_the_matcher_fail(pattern: str, text: str) -> None:
    matches(pattern, text)
    if "[" not in pattern and "\\" not in pattern:
        assert matches(pattern, text) == fnmatch.fnmatchcase(text, pattern)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_a_damaged_index_gives_only_the_one_error(data: st.DataObject) -> None:
    keys = ["pci:v*d*", "pci:v1d2", "usb", "usb_storage", "a"]
    content = bytearray(build((key.encode(), encode_value(b"module", number)) for number, key in enumerate(keys)))
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(8, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    with contextlib.suppress(IndexFormatError):
        index = Index(bytes(content))
        for key in keys:
            with contextlib.suppress(IndexFormatError):
                index.search(key)
            with contextlib.suppress(IndexFormatError):
                index.search_wild(key)
        list(index.items())


def test_nodes_in_a_circle_do_not_hang() -> None:
    content = bytearray(build([(b"ab", encode_value(b"x", 0)), (b"ac", encode_value(b"y", 0))]))
    root = content[8:12]
    place = content.index(b"bc", 12) + 2
    content[place : place + 4] = root
    with pytest.raises(IndexFormatError, match="circle"):
        list(Index(bytes(content)).items())


@pytest.mark.parametrize("content", [b"", b"\xb0\x07\xf4\x57", b"x" * 40, b"\xb0\x07\xf4\x57\0\3\0\0\0\0\0\0"])
def test_what_is_no_index_is_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(IndexFormatError, match="index") as caught:
        Index(content, "/some/where.bin")
    assert "depmod" in caught.value.hint
    assert "/some/where.bin" in str(caught.value)


def test_a_key_that_is_not_ascii_is_refused() -> None:
    with pytest.raises(ValueError, match="ASCII"):
        build([("ä".encode(), encode_value(b"x", 0))])


@pytest.mark.parametrize(
    ("keys", "left_out"),
    [
        (["aä"], []),  # one node with the prefix "ä" below the child "a"
        (["ä"], ["ä"]),  # the root has no prefix: its child would be the number 0xc3
        (["abä", "abc"], ["abä"]),
        (["abä", "ab"], ["abä"]),
        (["abä", "abäc"], []),
        (["abä", "abö"], ["abä", "abö"]),  # both begin with 0xc3, and part at the byte behind it
        (["axä", "ay", "aö", "b"], ["aö"]),
        (["aä"] * 3, []),
    ],
)
def test_keys_that_are_not_ascii_are_held_inside_prefixes_only(keys: list[str], left_out: list[str]) -> None:
    content, reported = build_partly((key.encode(), encode_value(key.encode(), 0)) for key in keys)
    assert reported == left_out
    assert {key for key, _ in Index(content).items()} == set(keys) - set(left_out)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text("abäö€", max_size=6), max_size=12))
def test_what_is_held_is_found_and_has_no_child_that_libkmod_refuses(keys: list[str]) -> None:
    content, left_out = build_partly((key.encode(), encode_value(b"x", 0)) for key in keys)
    index = Index(content)
    held = set(keys) - set(left_out)
    assert all(key.isascii() for key in held & set(left_out))
    assert {key for key in keys if key.isascii()} <= held
    assert {key for key, _ in index.items()} == held
    todo = [index._root]
    while todo:
        _, (first, last, at), _ = index._node(todo.pop())
        assert last < 128
        todo += [index._child((first, last, at), n) for n in range(first, last + 1 if at else 0)]
        todo = [reference for reference in todo if reference]


@given(st.binary(max_size=40))
def test_the_hash_is_the_published_one(key: bytes) -> None:
    assert native_superfasthash(key) == superfasthash(key)


def superfasthash(key: bytes) -> int:
    """The algorithm as published, one byte string at a time."""
    mask, state, rest = 0xFFFFFFFF, len(key), len(key) & 3
    if not key:
        return 0

    def low(at: int) -> int:
        return key[at] | key[at + 1] << 8

    for at in range(0, len(key) - rest, 4):
        state = (state + low(at)) & mask
        state = ((state << 16) ^ (low(at + 2) << 11) ^ state) & mask
        state = (state + (state >> 11)) & mask
    at = len(key) - rest
    signed = key[-1] - 256 if key[-1] > 127 else key[-1]
    if rest == 3:
        state = (state + low(at)) & mask
        state = (state ^ (state << 16) ^ (signed << 18)) & mask
        state = (state + (state >> 11)) & mask
    elif rest == 2:
        state = (state + low(at)) & mask
        state = (state ^ (state << 11)) & mask
        state = (state + (state >> 17)) & mask
    elif rest == 1:
        state = (state + signed) & mask
        state = (state ^ (state << 10)) & mask
        state = (state + (state >> 1)) & mask
    for left, right in ((3, 5), (4, 17), (25, 6)):
        state = (state ^ (state << left)) & mask
        state = (state + (state >> right)) & mask
    return state


def test_a_look_up_visits_few_of_the_nodes(cloud: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    index = Index.open(str(cloud.path / "modules.alias.bin"))
    visited: list[int] = []
    node = Index._node
    monkeypatch.setattr(Index, "_node", lambda self, reference: visited.append(reference) or node(self, reference))
    assert index.search_wild("pci:v00001AF4d00001000sv00001AF4sd00000001bc02sc00i00")
    assert 0 < len(visited) < 100
    visited.clear()
    everything = list(index.items())
    assert len(visited) > 20 * 100
    assert len(everything) > 1000
