"""What is read from memory is what the kernel lists."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from kobox.box.box import Box
from kobox.box.inspect import procfs as entries
from kobox.box.inspect.objects import Objects
from tests.building import BuiltTestModules

OF_NO_DRIVER = {".", "..", "self", "thread-self"}
DIRECTORIES = {
    "/proc": entries.names_in_proc,
    "/proc/1/net": entries.names_in_proc_net,
    "/sys/kernel/debug": entries.names_in_debugfs,
}


def listed(box: Box, directory: str) -> set[str]:
    return {name for name in box.listdir(directory) if not name.isdigit()} - OF_NO_DRIVER


@pytest.mark.parametrize("directory", DIRECTORIES)
def test_names_are_those_that_the_kernel_lists(box: Box, directory: str) -> None:
    names: Callable[[Objects], Iterator[str]] = DIRECTORIES[directory]
    assert set(names(box.inspect.objects)) == listed(box, directory)
    calls = box.machine.system_calls
    assert len(list(names(box.inspect.objects))) > 10
    assert box.machine.system_calls == calls


def test_what_a_module_makes_comes_and_goes(box: Box, modules: BuiltTestModules) -> None:
    before = {directory: set(names(box.inspect.objects)) for directory, names in DIRECTORIES.items()}
    module = box.insmod(modules("entries"))
    there = {directory: set(names(box.inspect.objects)) for directory, names in DIRECTORIES.items()}
    assert there["/proc"] - before["/proc"]
    assert "entries" in there["/sys/kernel/debug"] - before["/sys/kernel/debug"]
    for directory in DIRECTORIES:
        assert there[directory] == listed(box, directory)
    module.unload()
    assert {directory: set(names(box.inspect.objects)) for directory, names in DIRECTORIES.items()} == before
