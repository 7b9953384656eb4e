"""Another machine's kernel through a shell there; the far machine is a box, behind a program that stands in for ssh."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kobox.errors import KoboxError
from kobox.kernel import remote
from kobox.kernel.remote import RemoteKernel, by_ssh
from kobox.monitor import CommandLog, EventKind, ModuleMonitor, look
from tests.building import BuiltTestModules

FAR = str(Path(__file__).with_name("far_machine.py"))
KOBOX = str(Path(sys.executable).with_name("kobox"))


def far(*modules: Path) -> list[str]:
    return [sys.executable, FAR, *map(str, modules), "--", "far", "exec sh"]


@pytest.fixture(scope="module")
def kernel(modules: BuiltTestModules) -> Iterator[RemoteKernel]:
    kernel = RemoteKernel(far(modules("params")), "far")
    yield kernel
    kernel.close()


def test_its_modules_and_their_parameters(kernel: RemoteKernel, modules: BuiltTestModules) -> None:
    assert kernel.release == modules.kernel.release
    found = look(kernel)
    params = found.modules["params"]
    assert (params.state, params.taint, params.parameters["number"]) == ("live", "OE", "42")
    assert found.tainted == 1 << 12 | 1 << 13


def test_files_of_any_content(kernel: RemoteKernel) -> None:
    content = bytes(range(256)) * 100
    kernel.write_bytes("/tmp/a b'c", content)
    assert kernel.read_bytes("/tmp/a b'c") == content
    assert kernel.stat("/tmp/a b'c").st_size == len(content)
    assert stat.S_ISDIR(kernel.stat("/proc").st_mode)
    assert "a b'c" in kernel.listdir("/tmp")
    kernel.write_bytes("/tmp/a b'c", b"")
    assert kernel.read_bytes("/tmp/a b'c") == b""
    assert kernel.readlink("/proc/self").isdigit()


@pytest.mark.parametrize(
    ("act", "number"),
    [
        (lambda kernel: kernel.read_bytes("/nowhere"), errno.ENOENT),
        (lambda kernel: kernel.read_bytes("/proc"), errno.EISDIR),
        (lambda kernel: kernel.listdir("/nowhere"), errno.ENOENT),
        (lambda kernel: kernel.stat("/nowhere"), errno.ENOENT),
        (lambda kernel: kernel.write_bytes("/proc/nowhere", b"x"), errno.ENOENT),
        (lambda kernel: kernel.delete_module("nowhere"), errno.ENOENT),
        (lambda kernel: kernel.init_module(b"nonsense"), errno.ENOEXEC),
    ],
    ids=["read", "read a directory", "list", "stat", "write", "unload", "load"],
)
def test_an_error_has_the_kernel_s_errno(
    act: Callable[[RemoteKernel], object], number: int, kernel: RemoteKernel
) -> None:
    with pytest.raises(OSError) as failed:
        act(kernel)
    assert failed.value.errno == number


def test_modules_are_loaded_and_unloaded_there(kernel: RemoteKernel, modules: BuiltTestModules) -> None:
    monitor = ModuleMonitor(kernel)
    kernel.init_module(modules("hello").read_bytes())
    assert [event.kind for event in monitor.poll() if event.module == "hello"] == [EventKind.LOADED]
    kernel.delete_module("hello")
    assert [event.kind for event in monitor.poll() if event.module == "hello"] == [EventKind.UNLOADED]
    assert not [name for name in kernel.listdir("/tmp") if name.startswith("kobox-")], "the file that was sent is gone"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("exit 255", "far: the connection ended"),
        ("echo 'Permission denied (publickey).' >&2; exit 255", "far: Permission denied (publickey)."),
        ("exec true", "far: the connection ended"),
        ("while read x; do echo nonsense; done", "no answer"),
        ("yes | tr -d '\\n'", "an answer of more than"),
    ],
)
def test_a_machine_that_cannot_be_reached(script: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_WAIT", 1.0)
    monkeypatch.setattr(remote, "_MOST", 1 << 20)
    with pytest.raises(KoboxError, match=said.replace("(", r"\(").replace(")", r"\)")) as failed:
        RemoteKernel(["sh", "-c", script], "far")
    assert "ssh HOST true" in failed.value.hint


def test_without_ssh() -> None:
    with pytest.raises(KoboxError, match="no-such-program: No such file"):
        RemoteKernel(["no-such-program"], "far")


@pytest.mark.parametrize("host", ["", "-oProxyCommand=reboot", "a b", "a\nb"])
def test_what_is_no_host_is_not_given_to_ssh(host: str) -> None:
    with pytest.raises(KoboxError, match="is no host"):
        by_ssh(host, "exec sh")


def test_a_connection_that_ends_is_made_anew() -> None:
    kernel = RemoteKernel(["sh"], "far")
    shell = kernel._shell
    assert shell is not None
    shell._process.kill()
    with pytest.raises(ConnectionError, match="far: the connection ended"):
        kernel.read_bytes("/etc/hostname")
    assert kernel.read_bytes("/proc/self/comm") == b"cat\n"
    kernel.close()


def test_the_log_of_another_machine(tmp_path: Path) -> None:
    log = tmp_path / "kmsg"
    log.write_text("6,1,1000000,-;old\n4,2,9000000,-;new\n SUBSYSTEM=pci\n12,3,9100000,-;a program's\n")
    source = CommandLog(["cat", str(log)], 5.0)
    end = time.monotonic() + 20
    lines = []
    while not source.problem and time.monotonic() < end:
        lines += source.new_lines()
    assert [(line.level, line.text) for line in lines] == [(4, "new")]
    assert "takes root" in source.problem
    assert source.fileno() == -1
    assert CommandLog(["no-such-program"], 0).problem.startswith("no-such-program: ")


def test_the_commands_take_a_host(modules: BuiltTestModules, tmp_path: Path) -> None:
    ssh = tmp_path / "ssh"
    ssh.write_text(f'#!/bin/sh\nexec {sys.executable} {FAR} {modules("params")} -- "$@"\n')
    ssh.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}

    def kobox(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([KOBOX, *words], capture_output=True, text=True, check=False, env=environment)

    told = kobox("monitor", "--ssh", "ada@far", "--once", "--json")
    assert "params" in {module["name"] for module in json.loads(told.stdout)["modules"]}, told.stderr
    assert kobox("monitor", "--ssh", "-x", "--once").returncode != 0
    assert "two places" in kobox("top", "--box", "--ssh", "far").stderr
