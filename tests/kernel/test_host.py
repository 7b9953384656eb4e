"""Host: reading this machine's kernel; nothing is ever loaded into it here."""

from __future__ import annotations

import errno
import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kobox.kernel import sysfs_modules as loaded
from kobox.kernel.host import Host
from kobox.kernel.interface import InitFlags
from tests.kmod.module_maker import make_module


def test_reading(tmp_path: Path) -> None:
    host = Host()
    assert host.release == os.uname().release
    assert host.read_text("/proc/sys/kernel/osrelease").strip() == host.release
    assert sorted(host.listdir("/sys/module")) == sorted(path.name for path in Path("/sys/module").iterdir())
    assert host.exists("/sys/module")
    assert not host.exists("/sys/nosuch")
    host.write_bytes(str(tmp_path / "x"), b"abc")
    assert host.read_bytes(str(tmp_path / "x")) == b"abc"
    (tmp_path / "link").symlink_to("x")
    assert host.readlink(str(tmp_path / "link")) == "x"


def test_built_in_modules_are_known_by_sysfs() -> None:
    host = Host()
    assert loaded.init_state(host, "kernel") == loaded.BUILTIN
    assert loaded.init_state(host, "no_such_module") == ""
    assert loaded.parameters(host, "kernel")
    assert loaded.refcount(host, "kernel") == -1


def test_calls_reach_the_kernel_and_its_errno_comes_back() -> None:
    """An empty image and a name that no module has: the kernel refuses both, whoever asks."""
    host = Host()
    with pytest.raises(OSError) as caught:
        host.delete_module("kobox_no_such_module")
    assert caught.value.errno is not None
    with pytest.raises(OSError):
        host.init_module(b"")


def test_lines_of_proc_modules() -> None:
    from kobox.kernel.sysfs_modules import _parse

    module = _parse("nf_tables 290816 2 nft_chain_nat,nft_compat, Live 0xffffffffc0a30000 (OE)")
    assert module == ("nf_tables", 290816, 2, ("nft_chain_nat", "nft_compat"), "live", 0xFFFFFFFFC0A30000, "OE")
    assert _parse("dummy 16384 0 - Loading 0x0000000000000000").state == "coming"
    assert _parse("x 1 1 [permanent], Live 0x0").users == ()


def test_the_log_of_this_machine_or_why_it_cannot_be_read() -> None:
    restricted = Path("/proc/sys/kernel/dmesg_restrict").read_text().strip() == "1"
    code = "from kobox.kernel.host import read_log; print(len(read_log()))"
    drop = ["setpriv", "--bounding-set=-syslog,-sys_admin", "--inh-caps=-syslog,-sys_admin"] if not os.geteuid() else []
    for words in ([], drop) if drop else ([],):
        command = [*words, sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if restricted and (words or os.geteuid()):
            assert "only root may" in done.stderr
            assert "kobox explain --log -" in done.stderr
        else:
            assert int(done.stdout) > 100, done.stderr


@pytest.mark.parametrize("flags", list(InitFlags.IGNORE_MODVERSIONS | InitFlags.IGNORE_VERMAGIC) + [InitFlags.NONE])
@pytest.mark.parametrize("packed", [False, True])
def test_a_kernel_without_finit_module_gets_the_bytes(
    flags: InitFlags, packed: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Linux before 3.8, or a sandbox that does not know the call."""
    image = make_module(info=["license=GPL", "vermagic=1.0 SMP ", "name=m"])
    path = tmp_path / ("m.ko.gz" if packed else "m.ko")
    path.write_bytes(gzip.compress(image) if packed else image)
    calls: list[tuple[str, bytes]] = []

    def call(self: Host, name: str, *arguments: bytes | int) -> None:
        if name == "finit_module":
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        image, size, parameters = arguments
        assert isinstance(image, bytes)
        assert (size, parameters) == (len(image), b"a=1")
        calls.append((name, image))

    monkeypatch.setattr(Host, "_call", call)
    Host().load_file(str(path), "a=1", flags)
    ((name, given),) = calls
    assert name == "init_module"
    assert len(given) == len(image)
    assert (b"vermagic=" in given) == (InitFlags.IGNORE_VERMAGIC not in flags)
    assert given.count(b"license=GPL\0") == given.count(b"name=m\0") == 1
