"""Debian's own programs in the box of `kobox shell`: they find a kernel like any other."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import kobox as package
from kobox.apps.rootfs import shell_box
from kobox.box.box import Box
from kobox.box.guest.subprocess import DEVNULL
from kobox.images.store import KernelImage
from tests.building import BuiltTestModules
from tests.debian import Suite

PACKAGES = ("nftables", "iproute2", "iptables", "ethtool", "bpftool", "strace", "e2fsprogs", "python3")
# kobox called by the name of one of kmod's tools
AS_KMOD = "import sys; from kobox.cli.main import run; sys.exit(run(sys.argv[1], sys.argv[2:], prog=sys.argv[1]))"


@pytest.fixture(scope="module")
def one_box(debian_kernel: KernelImage) -> Iterator[Box]:
    with shell_box(debian_kernel, packages_added=PACKAGES) as box:
        yield box


@pytest.fixture
def furnished(one_box: Box) -> Iterator[Box]:
    """A box with the packages, as it was when made, whatever a test makes its start."""
    one_box.reset()
    with one_box.checkpoint():
        yield one_box
    one_box.set_reset_point()


def says(box: Box, script: str, *, status: int = 0) -> str:
    """What a shell script prints, both ways."""
    done = box.run(["sh", "-c", script], stdout=-1, stderr=-2, text=True, cwd="/root")
    assert done.returncode == status, done.stdout
    return str(done.stdout)


def test_nft_drops_real_packets_and_counts_them(furnished: Box) -> None:
    furnished.write_bytes(
        "/root/rules.nft",
        b"table inet t {\n chain in {\n type filter hook input priority 0;\n ip protocol icmp counter drop\n }\n}\n",
    )
    assert furnished.run(["nft", "-f", "/root/rules.nft"]).returncode == 0
    assert "100% packet loss" in says(furnished, "ping -c 2 -W 1 127.0.0.1", status=1)
    assert "ip protocol icmp counter packets 2 bytes 168 drop" in says(furnished, "nft list ruleset")
    says(furnished, "nft flush ruleset")
    assert " 0% packet loss" in says(furnished, "ping -c 2 127.0.0.1")


def test_ip_and_ethtool_and_ss(furnished: Box) -> None:
    says(furnished, "ip link add v0 type veth peer name v1; ip addr add 10.1.1.1/24 dev v0; ip link set v0 up")
    assert re.search(r"^v0@v1 +LOWERLAYERDOWN 10\.1\.1\.1/24", says(furnished, "ip -4 -br addr"), re.MULTILINE)
    assert "veth" in says(furnished, "lsmod")
    assert "driver: veth" in says(furnished, "ethtool -i v0")
    assert "State" in says(furnished, "ss -ltn")


def test_iptables_drops_and_counts(furnished: Box) -> None:
    says(furnished, "iptables -A INPUT -p icmp -j DROP; ping -c 1 -W 1 127.0.0.1; true")
    assert re.search(r"^ +1 +84 DROP +1 ", says(furnished, "iptables -nvL INPUT"), re.MULTILINE)


def test_strace_sees_system_calls(furnished: Box) -> None:
    traced = says(furnished, "strace -f -e trace=execve,openat sh -c 'cat /etc/hostname'")
    assert 'openat(AT_FDCWD, "/etc/hostname", O_RDONLY) = 3' in traced
    assert "+++ exited with 0 +++" in traced


def test_an_xdp_program_counts_the_frames_of_the_card(furnished: Box, tmp_path: Path) -> None:
    suite, source = Suite("bookworm"), Path(__file__).parents[1] / "programs/count.c"
    compiler = suite.package("gcc-bpf") / "usr/bin/bpf-gcc"
    beside = suite.package("binutils-bpf") / "usr/lib/bpf/bin/"
    subprocess.run([compiler, f"-B{beside}/", "-O2", "-c", "-o", tmp_path / "count.o", source], check=True)
    card = furnished.network.eth0
    card.up("10.0.0.2/24")
    furnished.files.copy_in(tmp_path / "count.o", "/root/count.o")
    says(furnished, "bpftool prog load count.o /sys/fs/bpf/count && ip link set dev eth0 xdp pinned /sys/fs/bpf/count")
    for _ in range(5):
        card.send(bytes(60))
        furnished.sleep(0.001)
    assert "xdp  name count" in says(furnished, "bpftool prog show")
    assert "value: 05 00 00 00" in says(furnished, "bpftool map dump name count.bss")


def test_python_talks_to_itself_over_a_socket(furnished: Box) -> None:
    code = (
        "import os, socket\n"
        "server = socket.create_server(('127.0.0.1', 0))\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    socket.create_connection(server.getsockname()).sendall(b'over tcp')\n"
        "    os._exit(3)\n"
        "connection, _ = server.accept()\n"
        "status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])\n"
        "print(connection.recv(100).decode(), status, os.uname().nodename)\n"
    )
    done = furnished.run(["python3", "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("over tcp 3 box\n", "")


def test_a_file_system_is_made_mounted_and_checked(furnished: Box) -> None:
    says(furnished, "truncate -s 8M disk; mkfs.ext4 -q disk; mkdir m; mount disk m; echo text > m/file; umount m")
    assert "12/2048 files" in says(furnished, "e2fsck -fn disk")
    assert says(furnished, "debugfs -R 'cat file' disk 2> /dev/null") == "text\n"


def test_kobox_own_tools_say_what_kmod_says(furnished: Box, modules: BuiltTestModules) -> None:
    """Both run in the box, on the same kernel, one after the other; what kobox says more is a hint of its own."""
    place = "/usr/lib/python3/dist-packages/kobox"
    furnished.files.share(Path(package.__file__).parent, place, private_copy=True, attr_timeout=1e6)
    for name in ("good", "kuser", "hello"):
        furnished.files.copy_in(modules(name), "/root/")
    says(furnished, "modprobe dummy; modprobe veth; insmod hello.ko")
    furnished.run(["python3", "-c", AS_KMOD, "insmod", "hello.ko"], stderr=DEVNULL)  # compiled from now on
    furnished.set_reset_point()
    for command in (
        "lsmod",
        "modinfo hello.ko",
        "modprobe -D nf_nat",
        "insmod hello.ko",
        "insmod kuser.ko",
        "rmmod nosuch",
        "modprobe nosuch",
    ):
        ours = furnished.run(["python3", "-c", AS_KMOD, *command.split()], capture_output=True, text=True, cwd="/root")
        furnished.reset()
        theirs = furnished.run(command.split(), capture_output=True, text=True, cwd="/root")
        furnished.reset()
        assert (ours.stdout, ours.returncode) == (theirs.stdout, theirs.returncode), command
        assert ours.stderr.startswith(theirs.stderr.rstrip("\n")), command


def test_a_core_goes_to_the_program_that_core_pattern_names(furnished: Box) -> None:
    furnished.write_bytes("/usr/local/bin/dump", b'#!/bin/sh\necho "$@" > /tmp/arguments\nwc -c > /tmp/size\n')
    says(furnished, "chmod +x /usr/local/bin/dump; echo '|/usr/local/bin/dump %s %e' > /proc/sys/kernel/core_pattern")
    says(furnished, "sh -c 'kill -SEGV $$'; sleep 1")
    assert furnished.read_text("/tmp/arguments") == "11 sh\n"
    assert int(furnished.read_text("/tmp/size")) > 10_000


def test_the_kernel_s_own_modprobe_is_the_real_one(furnished: Box) -> None:
    assert (
        says(furnished, "cat /proc/sys/kernel/modprobe; readlink -f /sbin/modprobe")
        == "/sbin/modprobe\n/usr/bin/kmod\n"
    )
    says(furnished, "echo 'install dummy touch /tmp/asked' > /etc/modprobe.d/x.conf; mknod /dev/fuse2 c 10 58; true")
    says(furnished, "mkdir m; mount -t btrfs /dev/null m; lsmod | grep -q ^btrfs")
    says(furnished, "ip link add type dummy; test -e /tmp/asked")


def test_the_console_is_neither_slow_nor_lossy_and_one_can_log_in_there(furnished: Box) -> None:
    furnished.machine.console()
    says(
        furnished,
        "for n in $(seq 200); do echo line $n of many; done > /dev/console; yes x | head -c 50000 > /dev/ttyS0",
    )
    printed = furnished.machine.console()
    assert all(f"line {n} of many".encode() in printed for n in range(1, 201))
    assert printed.count(b"x") == 25000
    with furnished.popen(["setsid", "getty", "-L", "ttyS0", "115200", "linux"]) as getty:
        for typed, shown in (("", b"login: "), ("root\r", b"# "), ("tty; exit\r", b"/dev/ttyS0\r\n")):
            furnished.machine.serial_input(0, typed.encode())
            seen = b""
            for _ in range(100):
                furnished.sleep(0.2)
                seen += furnished.machine.console()
                if shown in seen:
                    break
            assert shown in seen
        getty.terminate()


def test_a_share_that_vanishes_is_an_error_and_no_more(furnished: Box, tmp_path: Path) -> None:
    place = tmp_path / "lent"
    (place / "below").mkdir(parents=True)
    (place / "file").write_text("here")
    (place / "away").symlink_to("/etc/hostname")
    furnished.files.share(place, "/mnt")
    assert says(furnished, "cat /mnt/file /mnt/away") == "herebox\n", "a link leads to the box's own file"
    subprocess.run(["rm", "-r", place], check=True)
    furnished.sleep(5)
    assert "No such file or directory" in says(furnished, "ls /mnt/below; cat /mnt/other; umount /mnt; echo fine")
    assert says(furnished, "echo fine") == "fine\n"


def test_a_share_does_not_follow_what_a_request_must_not_ask(furnished: Box, tmp_path: Path) -> None:
    """Requests as a hostile kernel of the box could forge them."""
    import struct

    from kobox.box.guest.host_share import ShareServer

    (tmp_path / "out").symlink_to("/etc")
    (tmp_path / "lent").mkdir()
    (tmp_path / "lent/link").symlink_to("/etc")
    (tmp_path / "lent/pipe").touch()
    server = ShareServer(furnished, str(tmp_path / "lent"), -1, None, 1.0)  # type: ignore[arg-type]

    def ask(code: int, node: int, body: bytes) -> int:
        reply = server.answer(struct.pack("<IIQQIIII", 40 + len(body), code, 7, node, 0, 0, 0, 0) + body)
        return int(struct.unpack_from("<i", reply, 4)[0])

    assert ask(1, 1, b"pipe\0") == 0
    for name in (b"..", b".", b"../out", b"/etc/passwd", b"link/passwd", b""):
        assert ask(1, 1, name + b"\0") < 0
    assert ask(1, 1, b"link\0") == 0
    link = server._numbers["link"]
    assert ask(1, link, b"passwd\0") < 0, "there is nothing beneath a link"
    assert "link/passwd" not in server._numbers
    assert ask(15, link, struct.pack("<QQI", 0, 0, 100)) < 0
    assert ask(15, 999, struct.pack("<QQI", 0, 0, 100)) < 0
    assert ask(14, 1, b"") < 0
    assert ask(15, 1, b"short") < 0
