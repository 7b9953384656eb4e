"""What depmod reads of a module: natively, and by ModuleFile where that refuses."""

from __future__ import annotations

import contextlib
import os
import random
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kobox.errors import ModuleFormatError
from kobox.kmod.config.depmod_d import SearchConfig
from kobox.kmod.index import collect
from kobox.kmod.index import native_core as native
from kobox.kmod.index.module_facts import ALIASES, ERROR, EXPORTS, NEEDS, SOFTDEPS, Facts, _unusual, read_facts
from kobox.kmod.index.module_files import find_modules
from kobox.ko.modulefile import ModuleFile
from tests.kmod.module_maker import make_module
from tests.kmod_fixtures import ARMHF, CLOUD, S390X, packaged_tree


def fields(facts: Facts, number: int = 0) -> list[bytes]:
    return [facts.field(number, field) for field in range(6)]


def natively(content: bytes) -> Facts | None:
    packed = native.facts_of(content)
    return None if packed is None else Facts(packed)


def test_what_is_no_file_or_far_too_large_is_told_at_once(tmp_path: Path, cloud_package: Path) -> None:
    os.mkfifo(tmp_path / "fifo.ko")
    huge = tmp_path / "huge.ko"
    huge.write_bytes(b"\0" * 64)
    os.truncate(huge, 60 << 30)
    packed = tmp_path / "packed.ko.xz"
    packed.write_bytes(b"\xfd7zXZ\0")
    os.truncate(packed, 60 << 30)
    module = next(cloud_package.rglob("dummy.ko"))
    facts = collect.read_all([str(path) for path in (tmp_path / "fifo.ko", huge, packed, module)])
    errors = [facts.field(number, ERROR).decode() for number in range(facts.count)]
    assert errors[0].endswith("fifo.ko: not a regular file")
    assert errors[1].endswith("huge.ko: 64424509440 bytes are more than any module has")
    assert errors[2].endswith("packed.ko.xz: 64424509440 bytes are more than any module has")
    assert errors[3] == ""
    assert facts.field(3, NEEDS)


def test_a_fifo_in_the_tree_is_no_module(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.ko")
    (tmp_path / "gone.ko").symlink_to("nowhere")
    assert [found.path for found in find_modules(str(tmp_path), SearchConfig()).modules] == [
        "gone.ko"
    ]  # that is told of


@pytest.mark.parametrize("package", [CLOUD, S390X, ARMHF], ids=["64-bit", "big-endian", "32-bit"])
def test_both_readers_find_the_same(package: tuple[str, str, str]) -> None:
    for path in sorted(packaged_tree(*package).rglob("*.ko"))[::29]:
        module = ModuleFile(path)
        ours, theirs = natively(module.content), _unusual(module)
        assert ours, path
        assert fields(ours)[: EXPORTS + 1] == fields(theirs)[: EXPORTS + 1], path
        assert set(ours.field(0, NEEDS).split(b"\0")) == set(theirs.field(0, NEEDS).split(b"\0")), path


def test_a_small_module() -> None:
    content = make_module(
        info=["alias=pci:v1", "alias=", "license=GPL", "softdep=pre: a"], exports=["fa", "fb"], needs=["fc", "fd", "fc"]
    )
    facts = natively(content)
    assert facts
    assert fields(facts) == [b"pci:v1\0", b"pre: a", b"", b"fa\0fb", b"fc\0fd", b""]


def test_facts_are_joined_in_any_order(tmp_path: Path) -> None:
    modules = [Facts.of([b"%d" % number, b"", b"x" * number, b"", b"", b""]) for number in range(5)]
    whole = Facts.join([(each, 0) for each in modules])
    mixed = Facts.join([(whole, 3), (whole, 4), (modules[1], 0), (whole, 0)])
    assert [mixed.field(number, ALIASES) for number in range(mixed.count)] == [b"3", b"4", b"1", b"0"]
    assert list(mixed.having(SOFTDEPS)) == []
    assert list(mixed.having(2)) == [(0, b"xxx"), (1, b"xxxx"), (2, b"x")]


@given(st.binary(max_size=60))
def test_bytes_that_are_no_facts_are_refused(data: bytes) -> None:
    with contextlib.suppress(ValueError, struct.error):
        Facts(data)


def test_unreadable_files_are_told_and_the_others_read(tmp_path: Path) -> None:
    contents = {"good": make_module(exports=["fa"]), "text": b"hello", "empty": b"", "short": make_module()[:100]}
    for name, content in contents.items():
        (tmp_path / f"{name}.ko").write_bytes(content)
    (tmp_path / "folder.ko").mkdir()
    files = [str(tmp_path / f"{name}.ko") for name in (*contents, "folder", "missing")]
    facts = collect.read_all(files)
    assert [facts.field(number, EXPORTS) for number in range(6)] == [b"fa", b"", b"", b"", b"", b""]
    told = dict(facts.having(ERROR))
    assert sorted(told) == [1, 2, 3, 4, 5]
    for number, what in {1: b"not an ELF", 2: b"empty", 3: b"ends at 0x64", 4: b"directory", 5: b"No such"}.items():
        assert what in told[number]


@pytest.fixture(scope="module")
def small_modules() -> list[bytes]:
    trees = [packaged_tree(*package) for package in (CLOUD, S390X, ARMHF)]
    return [min(tree.rglob("*.ko"), key=lambda path: path.stat().st_size).read_bytes() for tree in trees]


def agrees(content: bytes) -> None:
    """It is read natively, or else ModuleFile reads it or refuses it by its one error."""
    if natively(content) is None:
        with contextlib.suppress(ModuleFormatError):
            _unusual(ModuleFile(content))


def test_no_truncation_does_harm(small_modules: list[bytes]) -> None:
    for content in small_modules:
        for size in range(0, len(content), 41):
            agrees(content[:size])


def test_no_flipped_bits_do_harm(small_modules: list[bytes]) -> None:
    chance = random.Random(11)
    for content in small_modules:
        header = 64 if content[4] == 2 else 52
        for _ in range(1500):
            damaged = bytearray(content)
            for _ in range(chance.randint(1, 4)):
                # Most of them where it hurts: the header, and the section headers at the end.
                places = (chance.randrange(header), -1 - chance.randrange(2400), chance.randrange(len(content)))
                damaged[chance.choice(places)] ^= 1 << chance.randrange(8)
            agrees(bytes(damaged))


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=300), st.sampled_from([1, 2]), st.sampled_from([1, 2]))
def test_no_bytes_behind_an_elf_header_do_harm(rest: bytes, kind: int, order: int) -> None:
    agrees(b"\x7fELF" + bytes([kind, order, 1]) + rest)


def test_a_file_that_is_read_by_parts_gives_what_one_in_memory_gives(tmp_path: Path) -> None:
    large = max(packaged_tree(*CLOUD).rglob("*.ko"), key=lambda path: path.stat().st_size)
    (whole,) = [read_facts(str(large))]
    assert fields(collect.read_all([str(large)])) == fields(whole)
    # All but the last tenth: a signature may end anywhere.
    for size in range(1, large.stat().st_size * 9 // 10, large.stat().st_size // 23):
        cut = tmp_path / "cut.ko"
        cut.write_bytes(large.read_bytes()[:size])
        assert collect.read_all([str(cut)]).field(0, ERROR)
