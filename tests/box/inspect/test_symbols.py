"""Addresses, names, types and memory."""

from __future__ import annotations

import struct

import pytest

from kobox.box.box import Box
from kobox.box.inspect.btf import BtfError
from kobox.box.inspect.symbols import SymbolNotFoundError
from tests.building import BuiltTestModules


def test_every_symbol_is_where_kallsyms_says(box: Box) -> None:
    rows = [line.split() for line in box.read_text("/proc/kallsyms").splitlines()]
    assert len(rows) > 50_000
    unique = {}
    for address, _, name, *_ in rows:
        unique.setdefault(name, set()).add(int(address, 16))
    for name in sorted(unique)[::997]:
        assert box.inspect.symbols.address(name) in unique[name]


def test_address_to_name(box: Box) -> None:
    at = box.inspect.symbols.address("vfs_read")
    found = box.inspect.symbols.lookup(at + 5)
    assert found is not None
    assert (found.name, found.address, found.kind, found.module) == ("vfs_read", at, "T", "")
    assert found.size > 100
    assert box.inspect.symbols.describe(at + 5).startswith("vfs_read+0x5/0x")
    assert box.inspect.symbols.lookup(0x1000) is None
    assert box.inspect.symbols.describe(0x1000) == "0x1000"
    assert "vfs_read" in box.inspect.symbols
    assert "no_such_symbol" not in box.inspect.symbols
    with pytest.raises(SymbolNotFoundError):
        box.inspect.symbols.address("no_such_symbol")


def test_modules_come_and_go(box: Box, modules: BuiltTestModules) -> None:
    assert box.inspect.symbols.modules() == []
    box.insmod(modules("kbase"))
    (module,) = box.inspect.symbols.modules()
    assert module.name == "kbase"
    at = box.inspect.symbols.address("kbase_fn")
    assert at in module
    assert at == box.inspect.symbols.address("kbase:kbase_fn")
    assert f"{at:x} T kbase_fn\t[kbase]" in box.read_text("/proc/kallsyms")
    assert box.inspect.symbols.describe(at).startswith("kbase_fn+0x0/")
    assert box.inspect.symbols.describe(at).endswith(" [kbase]")
    assert {"kbase_fn", "kbase_gpl_fn"} <= {symbol.name for symbol in box.inspect.symbols.symbols_of("kbase")}
    box.rmmod("kbase")
    with pytest.raises(SymbolNotFoundError):
        box.inspect.symbols.address("kbase_fn")


def test_types_of_functions_and_structures(box: Box) -> None:
    btf = box.inspect.symbols.btf
    assert [(p.name, p.type) for p in btf.parameters("vfs_read") or ()] == [
        ("file", "struct file *"),
        ("buf", "char *"),
        ("count", "size_t"),
        ("pos", "loff_t *"),
    ]
    assert btf.return_type("vfs_read") == "ssize_t"
    assert btf.parameters("no_such_function") is None
    assert btf.size("list_head") == 16
    assert btf.offset("list_head", "prev") == 8
    assert btf.has("task_struct", "comm")
    assert btf.array_length("task_struct", "comm") == 16
    with pytest.raises(BtfError):
        btf.offset("task_struct", "no_such_member")


def test_virtual_and_physical_memory_are_one(box: Box) -> None:
    banner = box.inspect.symbols.address("linux_banner")
    text = box.inspect.memory.read(banner, 13)
    assert text == b"Linux version"
    physical = box.inspect.memory.translate(banner)
    assert physical is not None
    assert box.inspect.memory.read_physical(physical, 13) == text
    with pytest.raises(ValueError, match="not all mapped"):
        box.inspect.memory.read(0xFFFFFFFF00000000, 8)
    assert box.inspect.memory.translate(0xFFFFFFFF00000000) is None
    with pytest.raises(ValueError):
        box.inspect.memory.read_physical(box.inspect.memory.size - 4, 8)
    with pytest.raises(ValueError):
        box.inspect.memory.write_physical(-1, b"x")


def test_memory_that_is_written_is_what_the_kernel_sees(box: Box, modules: BuiltTestModules) -> None:
    module = box.insmod(modules("params"))
    at = box.inspect.symbols.address("params:number")
    assert struct.unpack("<i", box.inspect.memory.read(at, 4)) == (42,)
    box.inspect.memory.write(at, struct.pack("<i", -7))
    assert module.parameters["number"] == "-7"


def test_the_running_task_is_found_through_types(box: Box) -> None:
    btf = box.inspect.symbols.btf
    head = box.inspect.symbols.address("init_task")
    link, comm = btf.offset("task_struct", "tasks"), btf.offset("task_struct", "comm")
    names, at = [], head
    while True:
        names.append(box.inspect.memory.read(at + comm, 16).split(b"\0")[0].decode())
        at = struct.unpack("<Q", box.inspect.memory.read(at + link, 8))[0] - link
        if at == head:
            break
    assert names[0] == "swapper/0"
    assert "kthreadd" in names
    assert "kobox" in names


@pytest.mark.parametrize("name", ["__text_poke", "_stext", "init_net", "loops_per_jiffy", "no_such_symbol"])
def test_one_symbol_is_found_without_a_table(box: Box, name: str) -> None:
    assert box.inspect.symbols.find_one(name) == box.inspect.symbols.of_kernel(name)
