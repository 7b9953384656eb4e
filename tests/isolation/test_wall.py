"""What a worker behind the wall can still do, and that it always ends."""

from __future__ import annotations

import platform
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from kobox.arch.host_syscalls import host_numbers
from kobox.isolation import landlock, seccomp
from tests.building import BuiltTestModules

KOBOX = str(Path(sys.executable).with_name("kobox"))

pytestmark = pytest.mark.skipif(
    not landlock.abi() or not seccomp.available(), reason="this machine has no Landlock or no seccomp filters"
)

HEAD = """
import ctypes, os, signal, socket, subprocess, sys, threading, time
from pathlib import Path
from kobox.isolation.wall import Wall, behind, in_worker

def attempt(name, what):
    try:
        what()
    except (OSError, MemoryError) as error:
        print(name, type(error).__name__)
    else:
        print(name, "done")

def main(work):
    status = behind(work, print)
    sys.stdout.flush()
    os._exit(status)
"""


def worker(code: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", HEAD + textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")


def test_what_is_refused_and_what_goes_on(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open/f").write_text("1")
    (tmp_path / "closed").write_text("secret")
    done = worker(
        """
        place = Path(sys.argv[1])
        def work():
            assert in_worker()
            Wall((place / "open",), memory=2 << 30).raise_here()
            attempt("read", (place / "open/f").read_text)
            attempt("list", lambda: os.listdir(place / "open"))
            attempt("python", lambda: __import__("xml.dom"))
            attempt("thread", lambda: threading.Thread(target=int).start())
            attempt("self", lambda: os.kill(os.getpid(), 0))
            attempt("null", lambda: os.open("/dev/null", os.O_RDONLY))
            attempt("read elsewhere", (place / "closed").read_text)
            attempt("list elsewhere", lambda: os.listdir(place))
            attempt("passwd", lambda: open("/etc/passwd"))
            attempt("write", lambda: open(place / "open/f", "a"))
            attempt("create", lambda: open(place / "open/new", "x"))
            attempt("unlink", lambda: os.unlink(place / "open/f"))
            attempt("rename", lambda: os.rename(place / "open/f", place / "open/g"))
            attempt("chmod", lambda: os.chmod(place / "open/f", 0o777))
            attempt("truncate", lambda: os.truncate(place / "open/f", 0))
            attempt("link", lambda: os.link(place / "open/f", place / "open/h"))
            attempt("symlink", lambda: os.symlink("f", place / "open/s"))
            attempt("mkdir", lambda: os.mkdir(place / "open/d"))
            attempt("times", lambda: os.utime(place / "open/f"))
            attempt("socket", socket.socket)
            attempt("unix", lambda: socket.socket(socket.AF_UNIX))
            attempt("exec", lambda: os.execv("/bin/true", ["true"]))
            attempt("fork", os.fork)
            attempt("program", lambda: subprocess.run(["/bin/true"]))
            attempt("kill", lambda: os.kill(os.getppid(), signal.SIGKILL))
            attempt("memory", lambda: bytearray(3 << 30))
            return 7
        main(work)
        """,
        tmp_path,
    )
    assert done.returncode == 7, done.stderr
    answers = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines())
    goes_on = {"read", "list", "python", "thread", "self", "null"}
    assert {name for name, answer in answers.items() if answer == "done"} == goes_on
    assert answers.pop("memory") == "MemoryError"
    assert {answer for name, answer in answers.items() if name not in goes_on} == {"PermissionError"}
    assert len(answers) == 25
    assert (tmp_path / "open/f").read_text() == "1"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers are those of x86-64")
def test_calls_without_a_function_in_python_are_refused_too() -> None:
    names = ["ptrace", "bpf", "io_uring_setup", "unshare", "keyctl", "userfaultfd", "init_module", "setns", "mount"]
    names += ["perf_event_open", "process_vm_writev", "open_by_handle_at", "memfd_secret", "personality", "creat"]
    numbers = {name: host_numbers()[name] for name in names if name in host_numbers()}
    assert len(numbers) >= 12
    done = worker(
        f"""
        def work():
            Wall().raise_here()
            libc = ctypes.CDLL(None, use_errno=True)
            for name, number in {numbers}.items():
                print(name, libc.syscall(number, 0, 0, 0, 0, 0), ctypes.get_errno())
            print("clone3", libc.syscall({host_numbers().get("clone3", 435)}, 0, 0), ctypes.get_errno())
            print("tiocsti", libc.ioctl(1, 0x5412, b"x"), ctypes.get_errno())
            return 0
        main(work)
        """
    )
    lines = done.stdout.splitlines()
    assert [line.split()[1:] for line in lines[:-2]] == [["-1", "1"]] * len(numbers), done.stdout + done.stderr
    assert lines[-2:] == ["clone3 -1 38", "tiocsti -1 1"]


@pytest.mark.parametrize(
    ("code", "status", "says"),
    [
        ("return 0", 0, ""),
        ("return 3", 3, ""),
        ("os.kill(os.getpid(), signal.SIGSEGV)", 1, "killed by SIGSEGV"),
        ("Wall(cpu=1).raise_here()\n    while True: pass", 1, "used up its CPU time"),
        ("Wall(memory=1 << 30).raise_here()\n    bytearray(2 << 30)", 1, "MemoryError"),
        # what the parent has mapped, such as the memory of its boxes, takes nothing from what a worker may use
        (
            "import mmap; kept = mmap.mmap(-1, 9 << 30, flags=0x4022)\n"
            "    Wall(memory=1 << 30).raise_here(); bytearray(100 << 20); return 0",
            0,
            "",
        ),
    ],
)
def test_how_a_worker_ends(code: str, status: int, says: str) -> None:
    done = worker(f"def work():\n    {code}\nmain(work)\n")
    assert done.returncode == status
    assert says in done.stdout + done.stderr


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("deaf", [False, True])
def test_a_signal_ends_it_within_a_second(signal_number: int, deaf: bool) -> None:
    ignore = "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))" if deaf else "pass"
    code = f"def work():\n    {ignore}\n    print('busy', flush=True)\n    while True: pass\nmain(work)\n"
    with subprocess.Popen([sys.executable, "-c", HEAD + code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"busy\n"
        child.send_signal(signal_number)
        status = child.wait()
    assert status == 128 + signal_number


def test_a_worker_dies_with_its_parent() -> None:
    code = "def work():\n    print(os.getpid(), flush=True)\n    time.sleep(600)\nmain(work)\n"
    with subprocess.Popen([sys.executable, "-c", HEAD + code], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        number = int(child.stdout.readline())
        child.kill()
    while _lives(number):
        time.sleep(0.01)


def _lives(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_ctrl_c_ends_a_run_that_spins(modules: BuiltTestModules) -> None:
    command = [KOBOX, "run", "-k", modules.kernel.name, str(modules("attacks")), "attack=spin"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline().startswith("kernel ")
        child.send_signal(signal.SIGINT)
        _, said = child.communicate()
    assert child.returncode == 130
    assert said == "kobox run: interrupted\n"


def _children(number: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{number}/task/{number}/children").read_text().split()]


def _status(number: int) -> dict[str, str]:
    lines = Path(f"/proc/{number}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines)


def test_a_check_and_its_workers_are_behind_the_wall_and_ctrl_c_ends_them_all(modules: BuiltTestModules) -> None:
    command = [KOBOX, "check", "-j", "2", "-k", modules.kernel.name, str(modules("attacks")), "attack=spin"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        workers: list[int] = []
        while not workers or any(_status(worker)["Seccomp_filters"] != "2" for worker in workers):
            time.sleep(0.01)
            for coordinator in _children(child.pid):
                workers = [one for one in _children(coordinator) if _status(one)["Seccomp"] == "2"]
        assert _status(coordinator)["Seccomp"] == "2"
        everyone = [coordinator, *_children(coordinator)]
        assert len(everyone) >= 3  # with the process that writes the reports
        child.send_signal(signal.SIGINT)
        _, said = child.communicate()
    assert (child.returncode, said) == (130, "kobox check: interrupted\n")
    while any(_lives(number) for number in everyone):
        time.sleep(0.01)


def test_reports_of_a_check_behind_the_wall_are_written(modules: BuiltTestModules, tmp_path: Path) -> None:
    files = {kind: tmp_path / f"report.{kind}" for kind in ("sarif", "html", "lcov")}
    command = [KOBOX, "check", "--no-faults", "-k", modules.kernel.name, str(modules("hello")), "--no-elsewhere"]
    command += [word for kind, path in files.items() for word in (f"--{kind}", str(path))]
    done = subprocess.run(
        [*command, "--crashes", str(tmp_path / "crashes")], capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1), done.stderr
    assert all(path.stat().st_size for path in files.values())
    command[-1] = str(tmp_path / "no/such/file")
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert f"{tmp_path}/no/such/file: No such file or directory" in done.stderr


def test_a_run_is_behind_the_wall(modules: BuiltTestModules) -> None:
    command = [KOBOX, "run", "-k", modules.kernel.name, "--cpu-limit", "60", str(modules("attacks")), "attack=spin"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert "load attacks" in next(line for line in child.stdout if line.startswith("=>"))
        (worker_number,) = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{worker_number}/status").read_text().splitlines())
        limits = Path(f"/proc/{worker_number}/limits").read_text()
        child.terminate()
    assert status["Seccomp"] == "2"
    assert status["NoNewPrivs"] == "1"
    (space,) = re.findall(r"Max address space +(\d+) +\1 ", limits)
    assert 8 << 30 < int(space) < 9 << 30  # and what it had mapped before


def test_a_reader_that_goes_away_is_no_error(modules: BuiltTestModules) -> None:
    command = [KOBOX, "run", "-v", "-k", modules.kernel.name, str(modules("chatty")), "lines=500"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.readline()
        child.stdout.close()
        said = child.stderr.read()
    assert child.returncode == 1
    assert said == ""
