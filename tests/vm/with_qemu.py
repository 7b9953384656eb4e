"""Kernels under QEMU: `make test-vm` runs these; they need qemu-system-x86_64, which the other tests do not."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import pty
import select
import shutil
import struct
import subprocess
import sys
import termios
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


def shell(kernel: KernelImage, *words: str | Path, typed: str = "") -> subprocess.CompletedProcess[str]:
    command = [KOBOX, "shell", "--on", "vm", "-k", kernel.name, *words]
    return subprocess.run(command, input=typed, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("command", "says", "error", "status"),
    [
        ("uname -r; exit 3", "{release}\n", "", 3),
        ("cat; echo no >&2", "typed\n", "no\n", 0),
        ("insmod good.ko && echo /sys/module/good/parameters/*; rmmod good", "/sys/module/good/", "loading", 0),
        ("modprobe dummy numdummies=2 && ls /sys/class/net; modprobe -r dummy", "dummy0\ndummy1\n", "", 0),
        ("ip link add d0 type dummy && ls /sys/class/net", "d0\n", "", 0),  # the kernel asks for the module
        ("modprobe nothing", "", "Module nothing not found", 1),
        ("insmod nothing.ko", "", "could not load module nothing.ko: No such file or directory", 1),
        ("kill -9 $$", "", "", 137),
        ("head -c 300000 /dev/zero | wc -c; yes | head -100000 | tail -1", "300000\ny\n", "", 0),
    ],
)
def test_a_command_of_the_shell(
    command: str, says: str, error: str, status: int, modules: BuiltTestModules, debian_kernel: KernelImage
) -> None:
    done = shell(debian_kernel, modules("good"), "-c", command, typed="typed\n")
    assert says.format(release=debian_kernel.release) in done.stdout
    assert error in done.stderr
    assert done.returncode == status
    assert not list(Path("/tmp").glob("kobox-vm-*"))


def test_a_directory_goes_along(debian_kernel: KernelImage, tmp_path: Path) -> None:
    (tmp_path / "tree" / "below").mkdir(parents=True)
    (tmp_path / "tree" / "below" / "file").write_text("here\n")
    (tmp_path / "tree" / "link").symlink_to("below/file")
    done = shell(debian_kernel, tmp_path / "tree", "-c", "cat tree/below/file tree/link")
    assert (done.stdout, done.returncode) == ("here\nhere\n", 0)


def test_commands_of_the_shell_from_a_pipe_and_too_slow_ones(debian_kernel: KernelImage) -> None:
    done = shell(debian_kernel, typed="cd /sys\nls -d kernel\nfalse\n")
    assert (done.stdout, done.returncode) == ("kernel\n", 1)
    done = shell(debian_kernel, "--timeout", "2", "-c", "echo begun; sleep 1000")
    assert (done.stdout, done.returncode) == ("begun\n", 124)
    assert "has not ended within 2 s" in done.stderr
    done = shell(debian_kernel, "-c", "echo c > /proc/sysrq-trigger")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "sysrq triggered crash" in done.stderr


def test_the_shell_on_a_terminal(debian_kernel: KernelImage) -> None:
    """Line by line, Ctrl-C, job control, the size of the window."""
    process, end = pty.fork()
    if not process:
        os.execv(KOBOX, ["kobox", "shell", "--on", "vm", "-k", debian_kernel.name])
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("<4H", 33, 99, 0, 0))

    def until(text: str) -> str:
        said = b""
        while text.encode() not in said:
            assert select.select([end], [], [], 60)[0], said
            said += os.read(end, 1 << 16)
        return said.decode()

    until("~# ")
    os.write(end, b"tty; stty size\n")
    assert "/dev/pts/0" in until("33 99")
    os.write(end, b"echo be''gun; sleep 1000\n")
    until("begun")
    os.write(end, b"\x03")
    until("# ")
    os.write(end, b"echo $? ok; exit 7\n")
    until("130 ok")
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 7
    os.close(end)
