"""Every command of a course on kernel modules, typed at a terminal, and what it prints: as any book shows it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from kobox.images.store import KernelImage
from tests.building import BuiltTestModules
from tests.cli.test_shell import Person, kobox

TIME = r"\[ +\d+\.\d{6}\] "
OUT_OF_TREE = r"\w+: loading out-of-tree module taints kernel\."
UNVERIFIED = r"\w+: module verification failed: signature and/or required key missing - tainting kernel"


@pytest.fixture(scope="module")
def shell(modules: BuiltTestModules) -> Iterator[Person]:
    """One long session, with the modules of the course in the current directory; each lesson leaves it as it was."""
    names = ("hello", "kbase", "kuser", "params", "chardev", "noexit", "udpfilter", "good")
    person = Person(*(str(modules(name)) for name in names), columns=250)
    yield person
    person.child.close(force=True)


def lines(printed: str) -> list[str]:
    """What was printed, line by line, without what the kernel says of every module from elsewhere."""
    said = [re.sub(f"^{TIME}", "[] ", line.rstrip("\r")) for line in printed.split("\n")]
    return [line for line in said if not re.fullmatch(rf"\[\] ({OUT_OF_TREE}|{UNVERIFIED})", line)]


def test_hello_with_a_parameter(shell: Person) -> None:
    first = shell.types("insmod hello.ko greeting=hi")
    assert re.search(f"^{TIME}{OUT_OF_TREE}$", first, re.MULTILINE)
    assert re.search(f"^{TIME}{UNVERIFIED}$", first, re.MULTILINE)
    assert lines(first) == ["[] hi"]
    assert re.fullmatch(
        r"Module +Size +Used by\nhello +16384 +0", "\n".join(shell.types("lsmod | head -2").split("\n"))
    )
    assert re.fullmatch(f"{TIME}hi", shell.types("dmesg | tail -n 1"))
    assert shell.types("cat /sys/module/hello/parameters/greeting") == "hi"
    assert shell.types("cat /sys/module/hello/refcnt") == "0"
    assert re.fullmatch(r"hello 16384 0 - Live 0xffffffffc0[0-9a-f]+ \(OE\)", shell.types("grep ^hello /proc/modules"))
    assert shell.types("insmod hello.ko") == "insmod: ERROR: could not insert module hello.ko: File exists"
    shell.types("rmmod hello")
    assert shell.types("rmmod hello") == "rmmod: ERROR: Module hello is not currently loaded"


def test_modinfo_tells_what_a_module_says_of_itself(shell: Person, modules: BuiltTestModules) -> None:
    told = shell.types("modinfo hello.ko")
    assert told.startswith("filename:       /root/hello.ko\n")
    assert f"\nvermagic:       {modules.kernel.release} SMP preempt mod_unload modversions" in told
    assert "parm:           greeting:what to say (charp)" in told
    assert shell.types("modinfo -F license hello.ko") == "GPL"


def test_dependencies_and_exports(shell: Person) -> None:
    refused = lines(shell.types("insmod kuser.ko"))
    assert "[] kuser: Unknown symbol kbase_fn (err -2)" in refused
    assert refused[-1] == "insmod: ERROR: could not insert module kuser.ko: Unknown symbol in module"
    shell.types("insmod kbase.ko")
    assert lines(shell.types("insmod kuser.ko")) == ["[] kuser: kbase_fn(1) = 2, kbase_gpl_fn(21) = 42"]
    assert re.search(r"^kbase +16384 +1 kuser$", shell.types("lsmod"), re.MULTILINE)
    assert shell.types("rmmod kbase") == "rmmod: ERROR: Module kbase is in use by: kuser"
    assert re.search(r" [rtT] kbase_fn\s+\[kbase\]$", shell.types("grep -w kbase_fn /proc/kallsyms"), re.MULTILINE)
    assert shell.types("ls /sys/module/kbase/holders") == "kuser"
    assert shell.types("rmmod kuser kbase") == ""


def test_parameter_arrays(shell: Person) -> None:
    said = lines(shell.types("insmod params.ko number=3 greeting=hey list=1,2,3"))
    assert said[0].startswith("[] params: number=3 greeting=hey")
    assert said[1:] == ["[] params: list[0]=1", "[] params: list[1]=2", "[] params: list[2]=3"]
    assert shell.types("cat /sys/module/params/parameters/list") == "1,2,3"
    assert shell.types("echo 9 > /sys/module/params/parameters/number; cat /sys/module/params/parameters/number") == "9"
    assert "ermission denied" in shell.types("su user -c 'echo 1 > /sys/module/params/parameters/number'")
    assert lines(shell.types("rmmod params")) == ["[] params: number is 9 at the end"]
    said = lines(shell.types("insmod params.ko number=abc"))
    assert said == [
        "[] params: `abc' invalid for parameter `number'",
        "insmod: ERROR: could not insert module params.ko: Invalid parameters",
    ]
    said = lines(shell.types("insmod params.ko list=1,2,3,4,5"))
    assert said[-1] == "insmod: ERROR: could not insert module params.ko: Invalid parameters"


def test_a_character_device(shell: Person) -> None:
    (said,) = lines(shell.types("insmod chardev.ko"))
    major = said.removeprefix("[] chardev: major ")
    assert f"{major} chardev" in shell.types("cat /proc/devices")
    assert shell.types(f"mknod /dev/my_device c {major} 0; ls -l /dev/my_device | cut -c1-10") == "crw-r--r--"
    assert shell.types("echo hi > /dev/my_device; head -c 3 /dev/my_device") == "hi"
    shell.types("exec 3< /dev/my_device")
    assert re.search(r"^chardev +\d+ +1$", shell.types("lsmod"), re.MULTILINE)
    assert shell.types("rmmod chardev") == "rmmod: ERROR: Module chardev is in use"
    shell.types("exec 3<&-; rm /dev/my_device")
    assert shell.types("rmmod chardev && echo gone") == "gone"


def test_a_module_without_an_exit_goes_by_force_only(shell: Person) -> None:
    assert lines(shell.types("insmod noexit.ko")) == ["[] noexit: here to stay"]
    assert "Device or resource busy" in shell.types("rmmod noexit")
    said = lines(shell.types("rmmod -f noexit"))
    assert said in ([""], ["[] Disabling lock debugging due to kernel taint"])
    assert shell.types("lsmod | grep -c ^noexit") == "0"
    assert int(shell.types("cat /proc/sys/kernel/tainted")) & 8, "TAINT_FORCED_RMMOD is not set"


def test_a_netfilter_module_filters_real_packets(shell: Person) -> None:
    shell.types("insmod udpfilter.ko port=7777")
    said = lines(shell.types("echo secret > /dev/udp/127.0.0.1/7777"))
    assert said == ["[] udpfilter: dropped 7 bytes to port 7777"]
    shell.types("echo passes > /dev/udp/127.0.0.1/7778")
    assert shell.types("cd /sys/module/udpfilter/parameters; cat dropped passed; cd") == "1\n1"
    shell.types("rmmod udpfilter")


def test_depmod_and_modprobe(shell: Person) -> None:
    shell.types("mkdir /lib/modules/$(uname -r)/extra; cp kbase.ko kuser.ko /lib/modules/$(uname -r)/extra")
    assert shell.types("modprobe kuser").startswith(
        "modprobe: FATAL: Module kuser not found in directory /lib/modules/"
    )
    assert shell.types("depmod") == ""
    assert shell.types("modprobe -D kuser | sed 's/.*extra//'").split() == ["/kbase.ko", "/kuser.ko"]
    assert lines(shell.types("modprobe kuser")) == ["[] kuser: kbase_fn(1) = 2, kbase_gpl_fn(21) = 42"]
    shell.types("modprobe -r kuser")
    assert shell.types("lsmod | grep -c '^k[bu]'") == "0"
    assert shell.types("modprobe veth; ls -d /sys/module/veth") == "/sys/module/veth"
    shell.types("rmmod veth")


def test_a_module_of_another_version(shell: Person, modules: BuiltTestModules, tmp_path: Path) -> None:
    release = modules.kernel.release.encode()
    good = modules("good").read_bytes()
    other = tmp_path / "other.ko"
    other.write_bytes(good.replace(b"SMP preempt mod_unload", b"UP  preempt mod_unload"))
    done = kobox(str(other), "-c", "insmod other.ko; dmesg | tail -n 1")
    assert done.stderr.endswith("insmod: ERROR: could not insert module other.ko: Invalid module format\n")
    assert re.search(r"version magic '.*UP .*' should be '.*SMP ", done.stdout)
    assert release in good


def test_a_kernel_that_wants_signatures(modules: BuiltTestModules) -> None:
    done = kobox(
        "--cmdline", "module.sig_enforce=1", str(modules("good")), "-c", "insmod good.ko; modprobe dummy && lsmod"
    )
    assert "Loading of unsigned module is rejected" in done.stderr
    assert "insmod: ERROR: could not insert module good.ko: Key was rejected by service" in done.stderr
    assert "dummy" in done.stdout


def test_every_kernel_has_its_shell(
    trixie_kernel: KernelImage, sid_kernel: KernelImage, tmp_path_factory: pytest.TempPathFactory
) -> None:
    for kernel in (trixie_kernel, sid_kernel):
        done = kobox(
            "-k", kernel.name, "-c", "uname -r; lsmod; modprobe dummy && ls /sys/class/net/dummy0/mtu; lsmod | wc -l"
        )
        nothing = "Module                  Size  Used by"  # kobox's own needs no module
        assert done.stdout.split("\n")[:4] == [kernel.release, nothing, "/sys/class/net/dummy0/mtu", "2"], done.stderr


def test_a_large_module_takes_a_shell_no_longer_than_insmod(sid_kernel: KernelImage) -> None:
    """xfs has 5,400 functions; for each of them ftrace would search the symbols of the module."""
    done = kobox("-k", sid_kernel.name, "-c", "modprobe xfs && lsmod | grep -c '^xfs '")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "1"), done.stderr


def test_an_oops_is_explained_and_the_shell_goes_on(modules: BuiltTestModules) -> None:
    done = kobox(str(modules("faulty")), "-c", "insmod faulty.ko what=null; echo $?; lsmod | grep faulty")
    assert "BUG: kernel NULL pointer dereference, address: 0000000000000010" in done.stderr
    assert "RIP: 0010:faulty_null+0x" in done.stderr
    assert "kobox: kernel code caused a fault of the CPU" in done.stderr
    assert re.fullmatch(r"137\nfaulty +\d+ +1\n", done.stdout)


def test_a_panic_is_shown_and_another_box_offered() -> None:
    person = Person()
    person.child.sendline("touch /root/lost; echo c > /proc/sysrq-trigger")
    person.child.expect_exact("Kernel panic - not syncing: sysrq triggered crash")
    person.child.expect_exact("Boot a fresh box? [Y/n]")
    person.child.sendline("y")
    person.child.expect(person.prompt)
    assert person.types("ls /root") == ""
    assert person.leaves() == 0
    done = kobox("-c", "echo c > /proc/sysrq-trigger; echo not reached")
    assert (done.returncode, done.stdout) == (1, "")
    assert "the kernel panicked" in done.stderr


def test_a_module_that_never_comes_back_is_given_up(modules: BuiltTestModules) -> None:
    done = kobox(str(modules("faulty")), "-c", "insmod faulty.ko what=loop")
    assert done.returncode == 1
    assert "faulty_loop+0x" in done.stderr
    assert "the kernel does not come back from one call" in done.stderr
