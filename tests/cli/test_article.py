"""An article on kernel modules, typed command by command at a terminal as it is printed, and what it promises."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pexpect
import pytest

from kobox.apps.rootfs import shell_box
from kobox.images.store import KernelImage
from tests.cli.test_shell import KOBOX, Person, kobox

HELLO = """\
#include <linux/init.h>
#include <linux/module.h>
#include <linux/kernel.h>

MODULE_LICENSE("GPL");
MODULE_AUTHOR("A. Reader");
MODULE_DESCRIPTION("Says hello.");

static int __init hello_init(void)
{
	printk(KERN_INFO "Hello, world!\\n");
	return 0;
}

static void __exit hello_exit(void)
{
	printk(KERN_INFO "Goodbye, world!\\n");
}

module_init(hello_init);
module_exit(hello_exit);
"""
MAKEFILE = """\
obj-m += hello.o

all:
	make -C /lib/modules/$(shell uname -r)/build M=$(PWD) modules

clean:
	make -C /lib/modules/$(shell uname -r)/build M=$(PWD) clean
"""
TIME = r"\[ *\d+\.\d{6}\] "
DATE = r"\[[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d 20\d\d\] "
# A command of the article; what it prints, as a pattern that is looked for.
ARTICLE = (
    ("whoami", r"^root$"),
    ("sudo apt-get update", r"up to date"),
    ("sudo apt install -y build-essential linux-headers-$(uname -r)", r"^Setting up gcc \(.*\) \.\.\.$"),
    ("ls -d /lib/modules/$(uname -r)/build/include", r"^/lib/modules/.*/build/include$"),
    ("mkdir hello && cd hello && cp ../hello.c ../Makefile .", r"^$"),
    ("make", r"^  LD \[M\]  /root/hello/hello\.ko$"),
    ("ls hello.ko", r"^hello\.ko$"),
    ("modinfo hello.ko", r"^description:    Says hello\.$"),
    ("modinfo -F vermagic ./hello.ko | cut -d' ' -f1; uname -r", r"^(\S+)\n\1$"),
    ("sudo dmesg -C", r"^$"),
    ("sudo insmod hello.ko", rf"^{TIME}Hello, world!$"),
    ("lsmod | grep hello", r"^hello +\d+ +0$"),
    ("sudo dmesg | tail -1", rf"^{TIME}Hello, world!$"),
    ("dmesg -T | tail -1", rf"^{DATE}Hello, world!$"),
    ("dmesg --level=err,warn | grep -c Hello", r"^0$"),
    ("dmesg -t -l info | tail -n 1", r"^Hello, world!$"),
    ("journalctl -k | tail -1", r"^20\d\d-\d\d-\d\d \d\d:\d\d:\d\d box kernel: Hello, world!$"),
    ("journalctl -k -n 1 -g Hello", r"box kernel: Hello, world!$"),
    ("cat /proc/modules | grep ^hello", r"^hello \d+ 0 - Live 0x[0-9a-f]+ \(OE\)$"),
    ("sudo rmmod hello", rf"^{TIME}Goodbye, world!$"),
    ("sudo rmmod hello", r"rmmod: ERROR: Module hello is not currently loaded"),
    ("sudo sh -c 'echo 4 > /proc/sys/kernel/printk'", r"^$"),
    ("sudo -u user id -un", r"^user$"),
    ("GREETING=x sudo -E env | grep ^GREETING", r"^GREETING=x$"),
    ("sudo NAME=y env | grep ^NAME", r"^NAME=y$"),
    ("sudo modprobe dummy && ip link show dummy0 | head -1", r"dummy0"),
    ("man insmod | head -4", r"insmod - Simple program to insert a module"),
    ("man no-such-page", r"No manual entry for no-such-page"),
    ("strace ls", r"strace is in Debian's package strace: `apt install strace`"),
    ("frobnicate", r"no command frobnicate here"),
    ("sudo lspci", r"sudo: lspci: command not found[\s\S]*apt install pciutils"),
    ("systemctl status", r"no systemd runs in this box"),
    ("sudo apt install no-such-package-anywhere", r"^E: Unable to locate package no-such-package-anywhere$"),
    ("sudo apt install linux-headers-5.4.0-1-amd64; echo $?", r"this box runs [\s\S]*^100$"),
    ("sudo apt remove gcc", r"stays in this box"),
    ("sed -i 's/\\t/    /' Makefile; make", r"kobox: Makefile:4: this line begins with spaces"),
    ("cp ../Makefile .; make clean", r"CLEAN"),
)


@pytest.fixture(scope="module")
def reader(debian_kernel: KernelImage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    shell_box(debian_kernel).close()
    here = tmp_path_factory.mktemp("article")
    (here / "hello.c").write_text(HELLO)
    (here / "Makefile").write_text(MAKEFILE)
    person = Person(str(here / "hello.c"), str(here / "Makefile"), columns=250, timeout=300)
    yield person
    person.child.close(force=True)


def test_the_article_works_as_printed(reader: Person) -> None:
    wrong = []
    for command, expected in ARTICLE:
        printed = reader.types(command).replace("\r", "")
        if not re.search(expected, printed, re.MULTILINE):
            wrong.append((command, expected, printed))
    assert wrong == []


def test_the_log_is_followed_until_ctrl_c(reader: Person) -> None:
    reader.child.sendline("(sleep 1; echo 'line one' > /dev/kmsg) & dmesg -w")
    reader.child.expect_exact("line one")
    reader.child.sendcontrol("c")
    reader.child.expect(reader.prompt)


def test_poweroff_ends_the_shell(reader: Person) -> None:
    reader.child.sendline("sudo poweroff")
    reader.child.expect(pexpect.EOF)
    reader.child.close()
    assert reader.child.exitstatus == 0


def test_the_banner_says_where_one_is_and_three_commands(debian_kernel: KernelImage) -> None:
    child = pexpect.spawn(KOBOX, ["shell"], encoding="utf-8", timeout=60, dimensions=(30, 80))
    child.expect_exact(f"root on Linux {debian_kernel.release}")
    child.expect(r"insmod [\s\S]*dmesg -w[\s\S]*exit")
    child.sendline("sudo reboot; echo no")
    child.expect_exact(f"root on Linux {debian_kernel.release}")
    child.sendline("exit")
    child.expect(pexpect.EOF)
    child.close()


@pytest.mark.parametrize("command", ["poweroff", "halt", "shutdown -h now", "systemctl poweroff", "sudo shutdown now"])
def test_a_script_that_switches_the_box_off_has_ended_well(command: str) -> None:
    done = kobox("-c", f"echo begun; {command}; echo never")
    assert (done.stdout, done.returncode) == ("begun\n", 0)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("gcc x.c", "gcc is in Debian's package build-essential"),
        ("cd /tmp; lspci", "lspci is in Debian's package pciutils"),
        ("echo x | nft -f -", "nft is in Debian's package nftables"),
        ("qwertyuiop", "no command qwertyuiop here"),
    ],
)
def test_a_command_that_is_not_there_names_its_package(command: str, said: str) -> None:
    done = kobox("-c", command)
    assert done.returncode == 127
    assert said in done.stderr


@pytest.mark.parametrize(
    "line",
    [
        "install 1 ../../etc",
        "install 1 $(reboot)",
        "install x gcc",
        "explode 1",
        "install 1 -o=Dir::Etc=/",
        f"install 1 {'a' * 5000}",
    ],
)
def test_a_forged_request_does_nothing(line: str, debian_kernel: KernelImage) -> None:
    done = kobox("-c", f"echo '{line}' > /run/kobox/ask; sleep 1; echo alive; cat /run/kobox/answer.1 2>/dev/null")
    assert done.stdout.startswith("alive\n")
    assert done.returncode == 1 or done.stdout.splitlines()[1] == "100"


def test_the_calendar_is_this_machine_s() -> None:
    import time

    before = int(time.time())
    assert 0 <= int(kobox("-c", "date +%s").stdout) - before < 60
