"""Boxes that know their kernel's module tree: modprobe by name and alias, and the kernel's own requests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import kobox
from kobox.box.boot.boot import boot, tree_of
from kobox.box.box import Box
from kobox.errors import KoboxError
from kobox.images.store import KernelImage
from tests.building import BuiltTestModules

AF_ALG, SOCK_SEQPACKET = 38, 5
IPPROTO_SCTP = 132


@pytest.fixture(scope="module")
def kept_box(debian_kernel: KernelImage) -> Iterator[Box]:
    with boot(debian_kernel) as box:
        yield box


@pytest.fixture
def tree_box(kept_box: Box) -> Box:
    kept_box.reset()
    kept_box.guest.requests.clear()
    return kept_box


def test_modprobe_loads_dependencies_first(tree_box: Box) -> None:
    loaded = tree_box.modprobe("btrfs").loaded
    assert loaded[-1] == "btrfs"
    assert {"xor", "raid6_pq", "libcrc32c", "zstd_compress"} <= set(loaded)
    assert set(loaded) <= set(tree_box.modules)
    assert "btrfs" in tree_box.read_text("/proc/filesystems")
    assert not tree_box.findings


def test_modprobe_takes_aliases_and_parameters(tree_box: Box) -> None:
    assert tree_box.modprobe("rtnl-link-dummy", numdummies=3).loaded == ("dummy",)
    assert tree_box.path("/sys/class/net/dummy2").exists()


def test_an_unknown_name_is_refused_with_a_suggestion(tree_box: Box) -> None:
    with pytest.raises(KoboxError, match="btrsf") as caught:
        tree_box.modprobe("btrsf")
    assert "btrfs" in str(caught.value)


def test_the_kernel_gets_the_modules_that_it_asks_for(tree_box: Box) -> None:
    with tree_box.network.socket(AF_ALG, SOCK_SEQPACKET) as algorithm:
        name = b"sha512".ljust(64, b"\0")
        algorithm.bind(b"\x26\x00" + b"hash".ljust(14, b"\0") + bytes(8) + name)
    assert ["/sbin/modprobe", "-q", "--", "net-pf-38"] in tree_box.guest.requests
    assert {"af_alg", "algif_hash", "sha512_generic"} <= set(tree_box.modules)
    assert not tree_box.findings
    assert tree_box.syscall("getpid") > 1  # the main process has its place again


def test_a_protocol_comes_when_a_socket_wants_it(tree_box: Box) -> None:
    with tree_box.network.socket(2, 1, IPPROTO_SCTP):
        assert "sctp" in tree_box.modules


def test_a_request_that_nothing_answers_fails_as_on_any_kernel(tree_box: Box) -> None:
    with pytest.raises(OSError, match="mount") as caught:
        tree_box.files.mount("none", "/mnt", "nosuchfs")
    assert caught.value.errno == 19
    assert ["/sbin/modprobe", "-q", "--", "fs-nosuchfs"] in tree_box.guest.requests


def test_several_requests_at_once_are_all_answered(tree_box: Box, modules: BuiltTestModules) -> None:
    requester = tree_box.insmod(modules("requester"))
    tree_box.sleep(5)
    asked = {arguments[-1] for arguments in tree_box.guest.requests}
    assert {"dummy", "veth", "nosuchmodule", "ifb", "tun", "loop"} <= asked
    assert {"dummy", "veth", "ifb", "tun", "loop"} <= set(tree_box.modules)
    requester.unload()
    assert not tree_box.findings


def test_a_kernel_without_modules_says_so(debian_kernel: KernelImage) -> None:
    with pytest.raises(KoboxError, match="without modules"):
        tree_of(debian_kernel._replace(modules=None))


def test_the_package_offers_it() -> None:
    assert kobox.boot is boot
