"""Being called when the kernel reaches a function."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from kobox.box.box import Box
from kobox.box.inspect.symbols import SymbolNotFoundError
from kobox.errors import KoboxError, ModuleLoadError
from tests.building import BuiltTestModules


def test_arguments_by_name_from_btf(box: Box) -> None:
    seen: list[tuple[str, int, str]] = []
    with box.probe(
        "do_sys_openat2", lambda hit: seen.append((hit.string(hit["filename"]), hit["dfd"], hit.caller_name))
    ) as p:
        assert p.parameter_names == ("dfd", "filename", "how")
        box.read_bytes("/proc/version")
    ((name, dfd, caller),) = seen
    assert name == "/proc/version"
    assert dfd & 0xFFFFFFFF == 0xFFFFFF9C
    assert "sys_open" in caller
    box.read_bytes("/proc/version")
    assert len(seen) == 1


def test_an_argument_that_is_none_is_a_key_error(box: Box) -> None:
    with box.probe("do_sys_openat2", lambda hit: hit["nonsense"]), pytest.raises(KeyError, match="nonsense"):
        box.read_bytes("/proc/version")
    box.reset()
    assert box.read_bytes("/proc/version")


def test_the_return_value_is_seen_and_changed(box: Box) -> None:
    results: list[int | None] = []
    with box.probe("do_sys_openat2", on_return=lambda hit: results.append(hit.result)):
        with pytest.raises(FileNotFoundError):
            box.open("/nowhere")
        box.open("/proc/version").close()
    assert results[0] == -errno.ENOENT
    assert results[1] is not None
    assert results[1] >= 0
    with box.probe("do_sys_openat2", on_return=lambda hit: hit.set_result(-errno.EMFILE)):
        with pytest.raises(OSError) as caught:
            box.open("/proc/version")
        assert caught.value.errno == errno.EMFILE
    box.open("/proc/version").close()


def test_the_result_of_a_function_that_returns_int_is_signed(box: Box) -> None:
    """The upper half of RAX is nobody's: many functions leave it zero with a negative int."""
    results: list[int | None] = []
    with box.probe("path_lookupat", on_return=lambda hit: results.append(hit.result)) as probe:
        assert not box.exists("/nowhere")
        assert probe.result_bits == 32
    assert results == [-errno.ENOENT]
    with box.probe("vfs_read", on_return=lambda hit: results.append(hit.result)) as probe:
        box.read_bytes("/proc/version")
        assert probe.result_bits == 64


def test_a_function_is_skipped(box: Box) -> None:
    ran: list[int] = []
    with box.probe("vfs_read", lambda hit: ran.append(1)), box.probe("ksys_read", lambda hit: hit.skip(-errno.EIO)):
        with pytest.raises(OSError) as caught:
            box.read_bytes("/proc/version")
        assert caught.value.errno == errno.EIO
    assert not ran
    assert box.read_bytes("/proc/version").startswith(b"Linux")


def test_an_argument_and_memory_are_changed(box: Box) -> None:
    box.write_bytes("/tmp/short", b"0123456789")
    with box.probe("ksys_read", lambda hit: hit.set_argument(2, 4)):
        assert box.open("/tmp/short", "rb").read(10) == b"0123"

    def other_name(hit: Any) -> None:
        hit.write(hit["filename"], b"/tmp/short\0")

    with box.probe("do_sys_openat2", other_name):
        assert box.open("/tmp/other", "rb").read(3) == b"012"


def test_entry_and_return_share_data(box: Box) -> None:
    pairs: list[tuple[str, int | None]] = []

    def entry(hit: Any) -> None:
        hit.data = hit.string(hit["filename"])

    with box.probe("do_sys_openat2", entry, lambda hit: pairs.append((hit.data, hit.result))):
        for path in ("/proc/version", "/proc/uptime"):
            box.open(path).close()
    assert [path for path, _ in pairs] == ["/proc/version", "/proc/uptime"]


def test_return_probes_stand_recursion(box: Box) -> None:
    """dput() of a deep tree and mount's path walk recurse; every entry gets its own return."""
    depth, seen = 0, []

    def entry(hit: Any) -> None:
        nonlocal depth
        depth += 1
        hit.data = depth

    def back(hit: Any) -> None:
        nonlocal depth
        seen.append((hit.data, depth))
        depth -= 1

    box.syscall("mkdir", "/tmp/a", 0o755)
    with box.probe("security_inode_permission", entry, back), box.probe("vfs_getattr", None, None):
        box.path("/tmp/a/b/c").mkdir(parents=True)
    assert seen
    assert depth == 0
    assert all(mine == now for mine, now in seen)


def test_a_function_of_a_module_that_is_not_loaded_yet(box: Box, modules: BuiltTestModules) -> None:
    calls: list[str] = []
    probe = box.probe("good:good_init", lambda hit: calls.append("init"))
    leave = box.probe("good:good_exit", lambda hit: calls.append("exit"))
    assert not probe.is_set
    for _ in range(3):
        box.insmod(modules("good")).unload()
        assert not probe.is_set
    assert calls == ["init", "exit"] * 3
    assert (probe.hits, leave.hits) == (3, 3)
    leave.remove()
    probe.remove()
    box.insmod(modules("good")).unload()
    assert len(calls) == 6


def test_a_module_s_init_can_be_made_to_fail(box: Box, modules: BuiltTestModules) -> None:
    with box.probe("chardev:chardev_init", on_return=lambda hit: hit.set_result(-errno.ENODEV)):
        with pytest.raises(ModuleLoadError) as caught:
            box.insmod(modules("chardev"))
        assert caught.value.errno == errno.ENODEV


def test_an_allocation_of_a_module_can_be_made_to_fail(box: Box, modules: BuiltTestModules) -> None:
    function = "get_zeroed_page" if "get_zeroed_page" in box.inspect.symbols else "get_zeroed_page_noprof"
    with (
        box.probe(function, lambda hit: hit.skip(0) if hit.caller_in("chardev") else None),
        pytest.raises(ModuleLoadError) as caught,
    ):
        box.insmod(modules("chardev"))
    assert caught.value.errno == errno.ENOMEM
    box.insmod(modules("chardev")).unload()


def test_probes_of_modules_follow_the_box_back_in_time(box: Box, modules: BuiltTestModules) -> None:
    calls: list[str] = []
    with box.probe("good:good_exit", lambda hit: calls.append("exit")) as probe:
        box.insmod(modules("kbase"))
        box.insmod(modules("good"))
        assert probe.is_set
        box.reset()
        assert not probe.is_set
        box.insmod(modules("good"))
        with box.checkpoint():
            box.rmmod("good")
            assert not probe.is_set
        assert probe.is_set
        box.rmmod("good")
    assert calls == ["exit", "exit"]


def test_a_probe_on_init_code_does_not_watch_who_comes_to_lie_there(box: Box, modules: BuiltTestModules) -> None:
    with box.probe("kbase:init_module") as nobody, box.probe("good:good_init") as probe:
        box.insmod(modules("good"))
        assert probe.hits == 1
        for name in ("noexit", "params", "memories", "kprobed", "udpfilter"):
            box.insmod(modules(name))
        assert probe.hits == 1
        assert not nobody.is_set


def test_several_probes_at_one_place(box: Box) -> None:
    order: list[int] = []
    probes = [box.probe("ksys_read", lambda hit, n=n: order.append(n)) for n in range(3)]
    box.open("/proc/version", "rb").read(1)
    probes[1].remove()
    box.open("/proc/version", "rb").read(1)
    assert order == [0, 1, 2, 0, 2]
    for probe in probes:
        probe.remove()
        probe.remove()


def test_a_probe_inside_a_function(box: Box) -> None:
    start = box.inspect.symbols.address("ksys_read")
    with box.probe(start) as by_address, box.probe("ksys_read+0x0") as by_name:
        box.open("/proc/version", "rb").read(1)
    assert by_address.hits == by_name.hits == 1


def test_a_name_that_is_not_there(box: Box) -> None:
    with pytest.raises(SymbolNotFoundError, match="ksys_raed") as caught:
        box.probe("ksys_raed")
    assert "ksys_read" in caught.value.hint
    assert isinstance(caught.value, KoboxError)
    assert isinstance(caught.value, LookupError)


def test_an_exception_in_a_probe_reaches_the_caller(box: Box) -> None:
    class StopHereError(Exception):
        pass

    def stop(hit: Any) -> None:
        raise StopHereError

    with box.probe("ksys_read", stop), pytest.raises(StopHereError):
        box.read_bytes("/proc/version")
    assert box.alive
    assert box.read_bytes("/proc/uptime")
    box.reset()
    assert box.read_bytes("/proc/version")


def test_many_probes(box: Box) -> None:
    names = box.inspect.symbols.matching("ext4_")[:1000]
    assert len(names) > 300
    probes = [box.probe(box.inspect.symbols.address(name)) for name in names]
    assert box.read_bytes("/proc/version")
    for probe in probes:
        probe.remove()
