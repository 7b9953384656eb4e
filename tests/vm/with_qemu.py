"""Kernels under QEMU: `make test-vm` runs these; they need qemu-system-x86_64, which the other tests do not."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kobox.apps.plain_life import PlainLife
from kobox.box.boot.boot import tree_of
from kobox.errors import BoxHungError, KernelPanicError, ProcessDiedError
from kobox.images.store import KernelImage
from kobox.kmod.modprobe import modprobe
from kobox.ko.modulefile import ModuleFile
from kobox.matrix import MatrixPlan, MatrixRun
from kobox.matrix.result_cache import ResultCache
from kobox.vm import VirtualMachine
from tests.building import BuiltTestModules

KOBOX = Path(sys.executable).with_name("kobox")


@pytest.fixture(scope="module")
def machine(debian_kernel: KernelImage, modules: BuiltTestModules) -> Iterator[VirtualMachine]:
    """One machine for all of them: a module that is gone leaves nothing."""
    with VirtualMachine(debian_kernel, modules=[modules("good").read_bytes()]) as made:
        yield made


def test_files_of_the_machine(machine: VirtualMachine, debian_kernel: KernelImage) -> None:
    assert machine.release == debian_kernel.release
    assert "kernel" in machine.listdir("/proc/sys")
    machine.write_bytes("/tmp/large", bytes(range(256)) * 300)
    assert machine.read_bytes("/tmp/large") == bytes(range(256)) * 300
    assert machine.stat("/tmp/large").st_size == 76_800
    assert machine.readlink("/proc/self") == "1"
    with pytest.raises(FileNotFoundError) as error:
        machine.read_bytes("/none")
    assert error.value.filename == "/none"


@pytest.mark.parametrize("name", ["good", "hello"])  # one that came along, one over the serial line
def test_a_module_lives_in_the_machine(name: str, machine: VirtualMachine, modules: BuiltTestModules) -> None:
    life = PlainLife(machine)
    events = list(life.tell([ModuleFile(modules(name))], [""]))
    assert life.ok, life.problems
    assert events[-1].text == f"ok: {name} loaded and unloaded"
    assert not machine.exists(f"/sys/module/{name}")


def test_an_errno_is_the_kernels(machine: VirtualMachine, modules: BuiltTestModules) -> None:
    content = modules("good").read_bytes()
    machine.init_module(content)
    with pytest.raises(OSError) as error:
        machine.init_module(content)
    assert error.value.errno == errno.EEXIST
    machine.delete_module("good")
    with pytest.raises(OSError) as error:
        machine.delete_module("good")
    assert error.value.errno == errno.ENOENT


def test_modprobe_is_the_same_as_everywhere(machine: VirtualMachine, debian_kernel: KernelImage) -> None:
    loaded = modprobe(machine, tree_of(debian_kernel), "dummy").loaded
    assert loaded == ("dummy",)
    assert machine.exists("/sys/class/net/dummy0")
    machine.delete_module("dummy")


def test_an_oops_in_a_call_harms_nothing(debian_kernel: KernelImage, modules: BuiltTestModules) -> None:
    with VirtualMachine(debian_kernel, modules=[modules("faulty").read_bytes()]) as machine:
        with pytest.raises(ProcessDiedError) as error:
            machine.init_module(modules("faulty").read_bytes(), "what=null")
        assert any("NULL pointer dereference" in line for line in error.value.log)
        assert machine.release == debian_kernel.release


def test_a_kernel_that_does_not_come_up_says_why(debian_kernel: KernelImage) -> None:
    with pytest.raises((KernelPanicError, BoxHungError), match="did not come up in the virtual machine: it found no"):
        VirtualMachine(debian_kernel, cmdline="rdinit=/none")


@pytest.mark.parametrize("name", ["good", "hello", "chardev", "miscdev", "params"])
def test_a_box_and_a_virtual_machine_are_the_same(name: str, modules: BuiltTestModules) -> None:
    done = subprocess.run(
        [KOBOX, "run", "--compare", "vm", "--json", "-k", modules.kernel.name, modules(name)],
        capture_output=True,
        text=True,
        check=False,
    )
    told = json.loads(done.stdout)
    assert (told["same"], done.returncode) == (True, 0), told
    assert told["lines"] > 3
    assert not list(Path("/tmp").glob("kobox-vm-*"))


def test_a_matrix_loads_in_virtual_machines(modules: BuiltTestModules, tmp_path: Path) -> None:
    plan = MatrixPlan((modules("good"),), (modules.kernel,), ("n=1",), run_words=("--on", "vm"))
    (cell,) = MatrixRun(plan, cache=ResultCache(tmp_path)).run().cells.values()
    assert cell.state.value == "clean", cell.deciding
    assert "good: loaded with n=1" in cell.loads.log
