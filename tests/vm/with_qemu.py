"""Kernels under QEMU: `make test-vm` runs these; they need qemu-system-x86_64, which the other tests do not."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kobox.apps.plain_life import PlainLife
from kobox.box.boot.boot import tree_of
from kobox.errors import BoxHungError, KernelPanicError, KoboxError, ProcessDiedError
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
    with VirtualMachine(debian_kernel) as made:
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


def test_a_machine_resumes_the_snapshot_of_the_first(debian_kernel: KernelImage, modules: BuiltTestModules) -> None:
    told = []
    for snapshot in (True, True, False):
        with VirtualMachine(debian_kernel, cmdline="kobox.test", snapshot=snapshot) as machine:
            assert "kobox.test" in machine.read_text("/proc/cmdline").split()
            assert machine.new_lines() == []  # what was said at boot was read
            machine.init_module(modules("good").read_bytes())
            told.append([text for _, _, text in machine.new_lines()])
    assert told[0] == told[1] == told[2]
    assert told[0]


@pytest.mark.parametrize(
    "damage",
    [
        lambda place: (place / "state").write_bytes(b"nothing"),
        lambda place: (place / "about").write_text("{}"),
        lambda place: (place / "ram").unlink(),
        lambda place: os.truncate(place / "ram", 1 << 20),
        lambda place: flip_a_byte(place / "ram"),
    ],
    ids=["state", "about", "no-ram", "short-ram", "ram"],
)
def test_a_damaged_snapshot_is_made_again(damage: Callable[[Path], object], debian_kernel: KernelImage) -> None:
    command_line = f"kobox.test={uuid.uuid4().hex}"
    before = set((debian_kernel.directory / "snapshots").glob("vm-*"))
    VirtualMachine(debian_kernel, cmdline=command_line).close()
    (place,) = set((debian_kernel.directory / "snapshots").glob("vm-*")) - before
    damage(place)
    with VirtualMachine(debian_kernel, cmdline=command_line) as machine:
        assert machine.release == debian_kernel.release
    with VirtualMachine(debian_kernel, cmdline=command_line) as machine:
        assert command_line in machine.read_text("/proc/cmdline")
    place.chmod(0o777)
    with pytest.raises(KoboxError, match="everybody can write to it"):
        VirtualMachine(debian_kernel, cmdline=command_line)
    shutil.rmtree(place)


def flip_a_byte(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(os.lseek(file.fileno(), 0, os.SEEK_DATA))
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


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
    with VirtualMachine(debian_kernel) as machine:
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


def test_a_test_gets_a_clean_machine(debian_kernel: KernelImage, modules: BuiltTestModules, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "@pytest.mark.parametrize('turn', [1, 2])\n"
        "def test_it(turn, vm, modules):\n"
        "    assert not vm.exists('/sys/module/good')\n"
        "    vm.init_module(modules['good'].read_bytes())\n"
        "    assert vm.exists('/sys/module/good')\n"
    )
    words = [sys.executable, "-m", "pytest", "-q", "--kobox-kernel", debian_kernel.name]
    words += ["--kobox-built", str(modules("good").parent)]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_a_matrix_loads_in_virtual_machines(modules: BuiltTestModules, tmp_path: Path) -> None:
    plan = MatrixPlan((modules("good"),), (modules.kernel,), ("n=1",), run_words=("--on", "vm"))
    (cell,) = MatrixRun(plan, cache=ResultCache(tmp_path)).run().cells.values()
    assert cell.state.value == "clean", cell.deciding
    assert "good: loaded with n=1" in cell.loads.log
