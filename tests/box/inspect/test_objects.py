"""The kernel's objects in memory: what is read there is what the kernel itself says."""

from __future__ import annotations

import pytest

from kobox.box.box import Box
from kobox.box.inspect.btf import BtfError
from kobox.box.inspect.symbols import SymbolNotFoundError


def test_tasks_are_those_of_proc(box: Box) -> None:
    objects = box.inspect.objects
    first = objects.address("init_task")
    tasks = list(objects.list(objects.member(first, "task_struct.tasks"), "task_struct.tasks"))
    seen = {objects.number(task, "task_struct.pid"): objects.text(task, "task_struct.comm") for task in tasks}
    theirs = {int(name): box.read_text(f"/proc/{name}/comm").strip() for name in box.listdir("/proc") if name.isdigit()}
    for pid, name in seen.items():
        if not name.startswith("kworker"):  # in /proc what it works for is added
            assert theirs[pid].startswith(name)  # and names of threads are not cut
    assert set(seen) == set(theirs)


def test_members_of_members_and_text_behind_pointers(box: Box) -> None:
    objects = box.inspect.objects
    offset = box.inspect.symbols.btf.offset
    assert objects.offset("device.kobj.name") == offset("device", "kobj") + offset("kobject", "name")
    kernel = objects.u64(objects.address("kernel_kobj"))
    assert objects.text(kernel, "kobject.name") == "kernel"
    assert objects.container(objects.member(kernel, "kobject.parent"), "kobject.parent") == kernel
    assert objects.has("task_struct.thread.sp")
    assert not objects.has("task_struct.thread.nonsense")
    with pytest.raises(BtfError):
        objects.number(kernel, "kobject.nonsense")
    with pytest.raises(SymbolNotFoundError):
        objects.address("no_such_variable")


def test_per_cpu_variables(box: Box) -> None:
    name = "current_task" if "current_task" in box.inspect.symbols else "pcpu_hot"
    task = box.inspect.objects.u64(box.inspect.objects.percpu(name))
    assert box.inspect.objects.text(task, "task_struct.comm") in ("kobox", "swapper/0", "init")


def test_a_string_that_is_not_there(box: Box) -> None:
    assert box.inspect.objects.string(0xDEAD000000000000) == ""


def test_bit_fields_and_extents(box: Box) -> None:
    btf = box.inspect.symbols.btf
    assert btf.bits("orc_entry", "sp_reg") == (32, 4)
    assert btf.bits("orc_entry", "sp_offset")[0] == 0
    assert btf.member("module", "name")[1:] == (56, "char[56]")
    with pytest.raises(BtfError):
        btf.bits("orc_entry", "nonsense")
    assert box.inspect.symbols.extent("timer_bases") >= btf.size("timer_base")
