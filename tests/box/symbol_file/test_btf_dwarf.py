"""DWARF made of BTF: read by pyelftools, it says of every structure what BTF says."""

from __future__ import annotations

import io
import random
from contextlib import suppress
from pathlib import Path

import pytest
from elftools.dwarf.die import DIE
from elftools.elf.elffile import ELFFile

from kobox.box.box import Box
from kobox.box.inspect.btf import BtfError
from kobox.box.symbol_file.btf_dwarf import dwarf_of
from kobox.box.symbol_file.kernel_symbol_file import kernel_symbol_file


@pytest.fixture(scope="module")
def symbol_file(tmp_path_factory: pytest.TempPathFactory, debian_kernel: object, machine_room: dict[str, Box]) -> Path:
    from tests.conftest import clean_box

    return kernel_symbol_file(clean_box(machine_room, debian_kernel), tmp_path_factory.mktemp("symbols"))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def structures(symbol_file: Path) -> dict[str, DIE]:
    """The structures of the file by name."""
    with symbol_file.open("rb") as file:
        unit = next(ELFFile(io.BytesIO(file.read())).get_dwarf_info().iter_CUs())
        return {
            die.attributes["DW_AT_name"].value.decode(): die
            for die in unit.iter_DIEs()
            if die.tag == "DW_TAG_structure_type"
            and "DW_AT_name" in die.attributes
            and "DW_AT_byte_size" in die.attributes
        }


def test_sizes_and_members_are_those_of_btf(box: Box, structures: dict[str, DIE]) -> None:
    btf = box.inspect.symbols.btf
    assert len(structures) > 3000
    asked = 0
    for name in random.Random(1).sample(sorted(structures), 400):
        die = structures[name]
        if btf.size(name) != die.attributes["DW_AT_byte_size"].value:  # of several with this name BTF has the first
            continue
        for member in die.iter_children():
            if "DW_AT_name" not in member.attributes or "DW_AT_data_member_location" not in member.attributes:
                continue
            word = member.attributes["DW_AT_name"].value.decode()
            if btf.has(name, word) and btf.bits(name, word)[1] == 0:
                asked += 1
                assert btf.offset(name, word) == member.attributes["DW_AT_data_member_location"].value, (name, word)
    assert asked > 1000


@pytest.mark.parametrize(
    ("structure", "member"), [("task_struct", "in_execve"), ("sk_buff", "cloned"), ("page", "_refcount")]
)
def test_members_of_all_kinds_are_there(box: Box, structures: dict[str, DIE], structure: str, member: str) -> None:
    def names(die: DIE) -> set[str]:
        found = set()
        for child in die.iter_children():
            if "DW_AT_name" in child.attributes:
                found.add(child.attributes["DW_AT_name"].value.decode())
            elif child.tag == "DW_TAG_member":
                found |= names(child.get_DIE_from_attribute("DW_AT_type"))
        return found

    assert box.inspect.symbols.btf.has(structure, member)
    assert member in names(structures[structure])


def test_bit_fields(box: Box, structures: dict[str, DIE]) -> None:
    found = {
        child.attributes["DW_AT_name"].value.decode(): child
        for child in structures["task_struct"].iter_children()
        if "DW_AT_bit_size" in child.attributes and "DW_AT_name" in child.attributes
    }
    assert "in_execve" in found
    for name, die in found.items():
        bits = (die.attributes["DW_AT_data_bit_offset"].value, die.attributes["DW_AT_bit_size"].value)
        assert bits == box.inspect.symbols.btf.bits("task_struct", name)


def test_the_file_is_made_once(box: Box, symbol_file: Path) -> None:
    before = symbol_file.stat()
    assert kernel_symbol_file(box, symbol_file.parent) == symbol_file
    assert symbol_file.stat() == before
    assert sorted(symbol_file.parent.iterdir()) == [symbol_file]


@pytest.mark.parametrize("cut", [0, 10, 23, 24, 100, 5000, 100_000])
def test_damaged_btf_is_an_error(box: Box, cut: int) -> None:
    with pytest.raises(BtfError):
        dwarf_of(box.inspect.symbols.btf.data[:cut], {})


def test_btf_with_random_bytes_is_an_error_or_some_dwarf(box: Box) -> None:
    """Nothing else is raised, whatever a byte says."""
    generator, data = random.Random(7), box.inspect.symbols.btf.data[:40_000]
    header = bytearray(data[:24])
    header[8:12], header[12:16] = (0).to_bytes(4, "little"), (30_000).to_bytes(4, "little")
    header[16:20], header[20:24] = (30_000).to_bytes(4, "little"), (9_000).to_bytes(4, "little")
    for _ in range(30):
        changed = bytearray(header + data[24:])
        for _ in range(20):
            changed[generator.randrange(24, 30_000)] = generator.randrange(256)
        with suppress(BtfError):
            dwarf_of(bytes(changed), {"init_task": (1, "task_struct")})
