"""drgn on a box, and on the core file of one: drgn's own helpers answer what the kernel itself says."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kobox.box.box import Box
from kobox.box.drgn_program import running_stack
from kobox.errors import KoboxError
from kobox.images.store import KernelImage
from kobox.kernel.host import Host
from tests.building import BuiltTestModules
from tests.conftest import clean_box

drgn = pytest.importorskip("drgn")


@pytest.fixture(scope="module")
def journal(debian_kernel: KernelImage) -> Path:
    return BuiltTestModules(debian_kernel, "debug")("journal")


@pytest.fixture(scope="module")
def used(machine_room: dict[str, Box], debian_kernel: KernelImage, journal: Path) -> Box:
    """A box in which journal.ko has an entry."""
    box = clean_box(machine_room, debian_kernel)
    box.insmod(journal)
    box.write_bytes("/dev/journal", b"one")
    return box


@pytest.fixture(scope="module")
def prog(used: Box, journal: Path) -> drgn.Program:
    return used.drgn(journal)


def tasks(box: Box) -> list[int]:
    return sorted(int(name) for name in box.listdir("/proc") if name.isdigit())


def physical_address_of_the_last_entry(box: Box) -> int | None:
    return box.machine.translate(box.inspect.objects.u64(box.inspect.symbols.address("journal:last")))


# What drgn says of something, and what the box says of the same.
SAME: dict[str, tuple[str, Callable[[Box], object]]] = {
    "tasks": ("sorted(t.tgid.value_() for t in for_each_task(prog) if t.tgid == t.pid)", tasks),
    "init": ("find_task(prog, 1).comm.string_().decode()", lambda box: box.read_text("/proc/1/comm").strip()),
    "modules": ("[m.name.string_().decode() for m in for_each_module(prog)]", lambda box: box.modules),
    "mounts": (
        "sorted({mount_dst(m).decode() for m in for_each_mount(prog)})",
        lambda box: sorted({line.split()[1] for line in box.read_text("/proc/mounts").splitlines()}),
    ),
    "log": (
        "get_dmesg(prog).decode().splitlines()[-1].split('] ', 1)[1]",
        lambda box: box.log.records()[-1].text,
    ),
    "devices": (
        "sorted(d.name.string_().decode() for d in for_each_netdev(prog))",
        lambda box: sorted(box.listdir("/sys/class/net")),
    ),
    "slabs": (
        "sorted({c.name.string_().decode() for c in for_each_slab_cache(prog)})[:0] == [] and "
        "find_slab_cache(prog, 'task_struct').name.string_().decode()",
        lambda box: "task_struct",
    ),
    "sysfs": (
        "sorted(n.decode() for n in sysfs_listdir(prog, 'module/journal'))",
        lambda box: sorted(box.listdir("/sys/module/journal")),
    ),
    "release": ("prog['UTS_RELEASE'].string_().decode()", lambda box: box.release),
    "cpus": ("list(for_each_online_cpu(prog))", lambda box: [0]),
    "current": ("cpu_curr(prog, 0).comm.string_().decode()", lambda box: "kobox"),
    "variable": ("prog['written'].value_()", lambda box: 1),
    "structure": ("prog['last'].word.string_().decode()", lambda box: "one"),
    "list": (
        "[e.number.value_() for e in list_for_each_entry('struct entry', prog['entries'].address_of_(), 'list')]",
        lambda box: [1],
    ),
    "symbol": (
        "prog.symbol('journal_write').address",
        lambda box: box.inspect.symbols.address("journal:journal_write"),
    ),
    "function": ("prog.symbol(prog['journal_fops'].write.value_()).name", lambda box: "journal_write"),
    "address": ("identify_address(prog['last'])", lambda box: "slab object: kmalloc-64+0x0"),
    "page": ("virt_to_phys(prog['last']).value_()", physical_address_of_the_last_entry),
    "per-CPU": ("per_cpu(prog['runqueues'], 0).cpu.value_()", lambda box: 0),
    "memory": ("totalram_pages(prog) > 1000", lambda box: True),
    "uptime": ("uptime(prog) >= 0", lambda box: True),
}


@pytest.mark.parametrize("what", SAME)
def test_drgn_says_what_the_kernel_says(used: Box, prog: drgn.Program, what: str) -> None:
    from drgn.cli import default_globals
    from drgn.helpers.common import identify_address

    code, same = SAME[what]
    names = {**default_globals(prog), "identify_address": identify_address}
    assert eval(code, names) == same(used)


def test_stacks_of_tasks_that_sleep(used: Box, prog: drgn.Program) -> None:
    from drgn.helpers.linux import find_task

    names = [frame.name for frame in prog.stack_trace(find_task(prog, 2))]
    assert names[:3] == ["__schedule", "schedule", "kthreadd"]
    called = [frame.name for frame in prog.stack_trace(1)]
    assert called[-3:-1] == ["do_syscall_64", "entry_SYSCALL_64_after_hwframe"]


def test_the_stack_of_the_running_task(used: Box, prog: drgn.Program) -> None:
    stacks = []
    with used.checkpoint(), used.probe("journal:add_entry", lambda hit: stacks.append(running_stack(used, prog))):
        used.write_bytes("/dev/journal", b"two")
    (stack,) = stacks
    assert [frame.name for frame in stack][:3] == ["add_entry", "journal_write", "vfs_write"]
    assert [frame.name for frame in stack][-3:-1] == ["do_syscall_64", "entry_SYSCALL_64_after_hwframe"]
    assert stack[0]["word"].type_.type_name() == "const char *"
    assert stack[1].source()[0].endswith("journal.c")
    between = running_stack(used, prog)  # the process is in user space
    assert between[0].pc == used.machine.pc


def test_memory_is_read_anew_each_time(used: Box, prog: drgn.Program) -> None:
    with used.checkpoint():
        used.write_bytes("/dev/journal", b"two")
        assert prog["written"].value_() == 2
        assert prog["last"].word.string_() == b"two"
    assert prog["written"].value_() == 1


def test_a_box_that_is_closed(debian_kernel: KernelImage) -> None:
    import kobox

    with kobox.boot(debian_kernel) as box:
        prog = box.drgn()
        assert prog["init_task"].pid.value_() == 0
    with pytest.raises(drgn.FaultError, match="the box is closed"):
        prog["init_task"].pid.value_()


def test_without_drgn_it_says_what_to_do(used: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "drgn", None)
    with pytest.raises(KoboxError, match="drgn is not installed") as raised:
        used.drgn()
    assert "kobox[drgn]" in raised.value.hint


def test_a_core_file_is_opened_elsewhere(used: Box, journal: Path, tmp_path: Path) -> None:
    core, symbols = tmp_path / "box.vmcore", tmp_path / "vmlinux"
    used.save_core(core)
    used.save_symbols(symbols)
    assert core.stat().st_size > used.machine.ram_size
    assert core.stat().st_blocks * 512 < used.machine.ram_size // 2  # pages of zeros are holes
    code = (
        "print([m.name.string_().decode() for m in for_each_module(prog)], prog['written'].value_());"
        "print(prog.stack_trace(2)); print(get_dmesg(prog).decode().splitlines()[-1])"
    )
    words = [sys.executable, "-m", "drgn", "-q", "-c", core, "-s", symbols, "-s", journal, "-e", code]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "['journal'] 1" in done.stdout
    assert "kthreadd+0x" in done.stdout
    assert used.log.records()[-1].text in done.stdout


@pytest.mark.parametrize("missing", ["box.vmcore", "box.vmlinux"])
def test_core_and_symbols_are_both_there_or_none(used: Box, tmp_path: Path, missing: str) -> None:
    """One of the two cannot be written: its place is a directory."""
    (tmp_path / missing).mkdir()
    with pytest.raises(OSError, match=missing):
        used.save_core(tmp_path / "box.vmcore", tmp_path / "box.vmlinux")
    assert [path.name for path in tmp_path.iterdir()] == [missing]


@pytest.mark.parametrize(
    ("number", "word"),
    [(errno.EACCES, "Only root may"), (errno.EPERM, "Lockdown"), (errno.ENOENT, "a container hides it")],
)
def test_this_machine_s_kernel_without_the_right(monkeypatch: pytest.MonkeyPatch, number: int, word: str) -> None:
    class Refused:
        def set_kernel(self) -> None:
            raise OSError(number, os.strerror(number), "/proc/kcore")

    monkeypatch.setattr(drgn, "Program", Refused)
    with pytest.raises(KoboxError, match="/proc/kcore") as raised:
        Host().drgn()
    assert word in raised.value.hint


def test_host_takes_no_modules() -> None:
    words = [sys.executable, "-m", "kobox", "drgn", "--host", "-k", "6.1"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "--host is this machine's own kernel" in done.stderr


def test_the_command(journal: Path) -> None:
    words = [sys.executable, "-m", "kobox", "drgn", journal, "-c", "echo -n one > /dev/journal"]
    code = "print(prog['last'].word.string_(), len(list(for_each_task(prog))) > 5, box.release)"
    done = subprocess.run([*words, "-e", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.startswith("b'one' True 6."), done.stderr
    failed = subprocess.run([*words, "-e", "raise SystemExit(3)"], capture_output=True, timeout=120, check=False)
    assert failed.returncode == 3
