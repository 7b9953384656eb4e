"""`kobox shell`, as a person sits at it: through a real pseudo-terminal, and as scripts use it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from kobox.apps.rootfs import shell_box
from kobox.box.box import Box
from kobox.cli import shell
from kobox.images.store import KernelImage, Store
from tests.building import BuiltTestModules
from tests.debian import EXT4, Programs

KOBOX = str(Path(sys.executable).with_name("kobox"))


@pytest.fixture(scope="session", autouse=True)
def prepared(debian_kernel: KernelImage) -> None:
    """The root file system is there before anything is timed."""
    shell_box(debian_kernel).close()


def kobox(*words: str, input: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [KOBOX, "shell", *words], capture_output=True, text=True, input=input, timeout=120, check=False
    )


class Person:
    """Somebody at a terminal with `kobox shell`."""

    def __init__(self, *words: str, rows: int = 30, columns: int = 100, timeout: int = 60) -> None:
        self.child = pexpect.spawn(
            KOBOX, ["shell", *words], encoding="utf-8", timeout=timeout, dimensions=(rows, columns), echo=True
        )
        self.prompt = re.compile(r"\d+\.\d+\.\d+[^ \n]*:[^ \n]*[#$] $", re.MULTILINE)
        self.child.expect(self.prompt)

    def types(self, command: str) -> str:
        """What a command prints, without its echo and the next prompt."""
        self.child.sendline(command)
        self.child.expect_exact(command)
        self.child.expect(self.prompt)
        before: str = self.child.before
        return before.replace("\r\n", "\n").strip("\n")

    def leaves(self) -> int:
        self.child.sendline("exit")
        self.child.expect(pexpect.EOF)
        self.child.close()
        status: int = self.child.exitstatus
        return status


@pytest.fixture
def person() -> Iterator[Person]:
    someone = Person()
    yield someone
    someone.child.close(force=True)


def test_a_command_and_its_status() -> None:
    done = kobox("-c", "echo out; echo err >&2; exit 5")
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 5)
    assert kobox("-c", "kill -9 $$").returncode == 137


def test_commands_from_standard_input() -> None:
    done = kobox(input="cd /tmp\nsleep 1000\npwd\nfalse\nexit $(($? + 6))\n")
    assert (done.stdout, done.returncode) == ("/tmp\n", 7)
    assert kobox("-c", "cat; wc -c < /proc/self/comm", input="x" * 100_000).stdout.startswith("x" * 100_000)


def test_a_file_on_the_command_line_and_the_kernel_s_messages(modules: BuiltTestModules) -> None:
    done = kobox(
        str(modules("hello")), "-c", "insmod hello.ko greeting=hi && cat /sys/module/hello/parameters/greeting"
    )
    assert done.stdout == "hi\n"
    assert re.search(r"^\[ +\d+\.\d{6}\] hello: loading out-of-tree module taints kernel\.$", done.stderr, re.MULTILINE)
    assert "hello" not in kobox("-q", str(modules("hello")), "-c", "insmod hello.ko").stderr


def test_what_was_saved_is_there_again(tmp_path: Path, modules: BuiltTestModules) -> None:
    name = f"test-{os.getpid()}"
    assert kobox(str(modules("hello")), "--save", name, "-c", "insmod hello.ko; cd /tmp; touch kept").returncode == 0
    done = kobox("--load", name, "-c", "ls /tmp; lsmod | head -2 | tail -1; modprobe dummy; ls /sys/class/net")
    assert done.stdout.split("\n")[0] == "kept"
    assert done.stdout.split("\n")[1].startswith("hello ")
    assert "dummy0" in done.stdout
    done = kobox("--load", "no-such-name", "-c", "true")
    assert (done.returncode, "no box was saved" in done.stderr) == (1, True)
    subprocess.run(["rm", "-r", str(Store().root / "saved" / name)], check=True)


def test_a_way_out_and_a_disk(tmp_path: Path) -> None:
    image = tmp_path / "disk.img"
    Programs(*EXT4).run("mkfs.ext4", "-q", "-F", image, "8M")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def serve() -> None:
            connection, _ = server.accept()
            connection.recv(1000)
            connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nfrom outside\n")
            connection.close()

        threading.Thread(target=serve, daemon=True).start()
        command = f"wget -qO- http://10.0.2.2:{port}/; mount /dev/vda /mnt && ls /mnt; wget -qO- http://192.0.2.1/"
        done = kobox("-q", "--net", "user", "--disk", str(image), "-c", command)
    assert done.stdout.split() == ["from", "outside", "lost+found"]
    assert "No route to host" in done.stderr + done.stdout
    assert done.returncode == 1
    refused = kobox("--disk", str(tmp_path / "none.img"), "-c", "true")
    assert (refused.returncode, "No such file" in refused.stderr) == (1, True)
    assert kobox("--net", "user", "--save", "x", "-c", "true").returncode == 2


def test_a_shared_directory_is_read_only_or_a_copy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from here\n")
    done = kobox("--share", f"{tmp_path}:/mnt", "-c", "cat /mnt/file; echo x > /mnt/file")
    assert done.stdout == "from here\n"
    assert "Read-only file system" in done.stderr
    done = kobox("--share", f"{tmp_path}:/mnt:copy", "-c", "echo x > /mnt/file; touch /mnt/new; cat /mnt/file; ls /mnt")
    assert done.stdout == "x\nfile\nnew\n"
    assert (tmp_path / "file").read_text() == "from here\n"
    assert os.listdir(tmp_path) == ["file"]


def test_a_person_s_session(person: Person) -> None:
    assert person.types("tty") == "/dev/pts/0"
    assert person.types("stty size") == "30 100"
    person.child.setwinsize(40, 120)
    assert person.types("stty size") == "40 120"
    assert person.types("echo $TERM $HOME $PWD") == f"{os.environ.get('TERM', 'linux')} /root /root"
    person.child.sendline("cat")
    person.child.sendline("typed")
    person.child.expect_exact("typed\r\ntyped\r\n")
    person.child.sendcontrol("z")
    person.child.expect_exact("Stopped")
    person.child.expect(person.prompt)
    assert "Stopped" in person.types("jobs")
    person.child.sendline("fg")
    person.child.expect_exact("fg\r\ncat\r\n")
    person.child.sendcontrol("c")
    person.child.expect(person.prompt)
    assert person.types("echo $?") == "130"
    assert person.types("sleep 600 && echo done") == "done"
    assert person.leaves() == 0


def test_vi_draws_its_screen_and_writes_its_file(person: Person) -> None:
    person.child.sendline("vi notes")
    person.child.expect_exact("notes")
    person.child.expect_exact("~")
    for keys, shown in (("i", "I notes"), ("hello from vi", "hello from vi"), ("\x1b", "- notes")):
        person.child.send(keys)
        person.child.expect_exact(shown)
    person.child.send(":wq\r")
    person.child.expect(person.prompt)
    assert person.types("cat notes") == "hello from vi"


def test_top_refreshes_at_a_person_s_pace(person: Person) -> None:
    person.child.sendline("top -d 1")
    person.child.expect_exact("Mem:")
    person.child.expect_exact("Mem:", timeout=5)
    person.child.send("q")
    person.child.expect(person.prompt)


def test_the_terminal_is_whole_again_afterwards() -> None:
    someone = Person()
    fd = someone.child.child_fd
    raw = termios.tcgetattr(fd)
    assert not raw[3] & termios.ICANON
    someone.child.sendline("exit 3")
    someone.child.expect(pexpect.EOF)
    someone.child.close()
    assert someone.child.exitstatus == 3


def test_a_hung_up_terminal_ends_it() -> None:
    someone = Person()
    someone.child.close(force=False)
    assert not someone.child.isalive()


def test_login_and_a_user_without_rights(person: Person) -> None:
    person.child.sendline("su user -c 'id -un; insmod /x.ko; cat /etc/shadow'")
    person.child.expect_exact("user\r\n")
    person.child.expect("ermission denied")
    person.child.expect(person.prompt)


def test_the_box_of_a_shell_is_a_box(debian_kernel: KernelImage) -> None:
    with shell_box(debian_kernel) as box:
        assert isinstance(box, Box)
        assert box.run(["sh", "-c", "id -un"], capture_output=True, text=True).stdout == "root\n"
        assert "dummy" in box.modprobe("dummy").loaded


# -- a command that does not end -------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["while :; do :; done", "sleep 100", "mkfifo f; cat f", "read line < /dev/zero"])
def test_a_command_that_has_had_its_time_is_ended(command: str) -> None:
    done = kobox("--timeout", "3", "-c", f"echo begun; {command}; echo never", input="")
    assert (done.returncode, done.stdout) == (124, "begun\n")
    assert "kobox shell: not ended after 3 s of the box's time" in done.stderr


@pytest.mark.parametrize("command", ["mkfifo f; cat f", "mkfifo f; echo x > f & wait", "kill -STOP $$"])
def test_a_command_that_waits_for_what_never_comes_ends_by_itself(command: str) -> None:
    done = kobox("-c", f"echo begun; {command}; echo never", input="")
    assert (done.returncode, done.stdout) == (1, "begun\n")
    assert "waits for something that never comes" in done.stderr


def test_a_command_that_sleeps_for_days_is_waited_for() -> None:
    done = kobox("-c", "sleep 300000; echo late", input="")
    assert (done.returncode, done.stdout) == (0, "late\n")


@pytest.mark.parametrize("text", ["0", "-1", "soon", "nan"])
def test_a_timeout_that_is_no_time(text: str) -> None:
    done = kobox(f"--timeout={text}", "-c", "true")
    assert done.returncode == 2
    assert "not a number of seconds" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["--net", "user"],
        ["--allow", "10.0.0.0/8"],
        ["--disk", "disk.img"],
        ["--plug", "e1000"],
        ["--share", ".:/mnt"],
        ["--save", "mine"],
        ["--load", "mine"],
        ["--memory", "3000"],
    ],
)
def test_what_only_boxes_have_does_not_go_with_a_virtual_machine(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        shell.main(["--on", "vm", *words], "kobox shell")
    assert ended.value.code == 2
    says = {"--memory": "--memory: with --on vm, 2032 MiB is the most"}
    assert says.get(
        words[0], f"{words[0]} is for boxes: it does not go with --on vm"
    ) in capsys.readouterr().err.replace("\n", " ")


def test_plugged_devices_have_drivers_and_are_listed(full_kernel: KernelImage) -> None:
    done = kobox(
        *("-k", full_kernel.name, "-q", "--plug", "e1000", "--plug", "usb-stick=8M", "--plug", "lm75=30"),
        *("-c", "lspci; lsusb; cat /sys/class/hwmon/hwmon0/temp1_input; i2cdetect -y 0; ls /sys/block /sys/class/net"),
    )
    assert done.returncode == 0, done.stderr
    assert "00:01.0 Ethernet controller: Intel Corporation 82540EM Gigabit Ethernet Controller (rev 02)" in done.stdout
    assert "ID 0951:1666 kobox Stick" in done.stdout
    assert "\n30000\n" in done.stdout
    assert "40: -- -- -- -- -- -- -- -- UU -- -- -- -- -- -- -- \n" in done.stdout
    assert done.stdout.endswith("/sys/block:\nsda\n\n/sys/class/net:\neth0\nlo\n")
