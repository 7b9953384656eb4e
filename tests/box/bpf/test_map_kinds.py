"""Maps of each kind as Python has them: what is put in comes out, typed by BTF; else there is an error."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

import pytest

from kobox.box.boot.boot import boot
from kobox.box.box import Box
from kobox.box.bpf.bpf_object import BpfObject
from kobox.errors import KoboxError
from kobox.images.store import KernelImage
from tests.bpf.objects import bpf_object


@pytest.fixture(scope="module")
def own(debian_kernel: KernelImage) -> Iterator[Box]:
    with boot(debian_kernel) as made:
        yield made


@pytest.fixture(scope="module")
def loaded(own: Box, debian_kernel: KernelImage) -> BpfObject:
    return own.bpf.load(bpf_object("maps", debian_kernel))


PAIR = {"left": 3, "right": 4}


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [("per_cpu_hash", 7, [PAIR]), ("recent_per_cpu", 7, [9]), ("devices", 1, 1), ("devices_by_name", 5, 1)],
)
def test_a_mapping(name: str, key: int, value: object, loaded: BpfObject) -> None:
    one = loaded.maps[name]
    one[key] = value  # type: ignore[assignment]
    found = one[key]
    assert found == value if not isinstance(value, list) or value != [PAIR] else dict(found[0]) == PAIR  # type: ignore
    assert key in list(one)
    del one[key]
    with pytest.raises(KeyError):
        one[key]


def test_a_stack_gives_the_last_first(loaded: BpfObject) -> None:
    stack = loaded.maps["stack"]
    for number in (1, 2):
        stack.push({"left": number, "right": 0})
    assert [stack.pop().left, stack.pop().left] == [2, 1]  # type: ignore[union-attr]
    loaded.programs["looks"].test_run(bytes(64))
    assert dict(stack.pop()) == {"left": 1, "right": 2}  # type: ignore[call-overload]
    with pytest.raises(KeyError):
        stack.peek()


def test_a_bloom_filter_says_perhaps_or_no(loaded: BpfObject) -> None:
    bloom = loaded.maps["bloom"]
    bloom.push(17)
    assert bloom.may_hold(17)
    assert not all(map(bloom.may_hold, range(100, 140)))
    with pytest.raises(KoboxError, match="holds no"):
        loaded.maps["stack"].may_hold(1)


@pytest.mark.parametrize("name", ["table", "by_name"])
def test_maps_in_a_map(name: str, loaded: BpfObject) -> None:
    outer, second = loaded.maps[name], loaded.maps["second"]
    if name == "table":
        assert outer[0] == loaded.maps["first"].id  # as the source declares it
    outer[1] = second
    assert outer[1] == second.id
    del outer[1]
    assert 1 not in outer


def test_a_program_reads_through_a_map_in_a_map(loaded: BpfObject) -> None:
    loaded.maps["second"][0] = 42
    loaded.maps["table"][0] = loaded.maps["second"]
    assert loaded.programs["looks"].test_run(bytes(64)).result == 42
    loaded.maps["table"][0] = loaded.maps["first"]
    assert loaded.programs["looks"].test_run(bytes(64)).result == 0


def test_storage_of_a_task(own: Box, loaded: BpfObject) -> None:
    pid = own.syscall("getpid")
    task = own.syscall("pidfd_open", pid, 0)
    storage = loaded.maps["of_tasks"]
    assert task not in storage
    link = loaded.programs["on_call"].attach()
    own.syscall("getpid")
    link.detach()
    assert storage[task].left > 0  # type: ignore[union-attr]
    storage[task] = PAIR
    assert dict(storage[task]) == PAIR  # type: ignore[call-overload, arg-type]
    del storage[task]
    assert task not in storage
    with pytest.raises(KoboxError, match="cannot be listed"):
        list(storage)


@pytest.mark.parametrize("name", ["of_inodes", "of_sockets"])
def test_storage_of_a_file_and_of_a_socket(name: str, own: Box, loaded: BpfObject) -> None:
    fd = own.syscall("open", "/", os.O_RDONLY, 0) if name == "of_inodes" else own.syscall("socket", 2, 1, 0)
    storage = loaded.maps[name]
    storage[fd] = PAIR
    assert dict(storage[fd]) == PAIR  # type: ignore[call-overload, arg-type]
    del storage[fd]
    assert fd not in storage
    own.syscall("close", fd)


def test_stacks_by_number(own: Box, loaded: BpfObject) -> None:
    with loaded.programs["on_call"].attach():
        own.syscall("getpid")
        number = loaded.globals["stack_id"]
    stack = loaded.maps["stacks"].stack(number)  # type: ignore[arg-type]
    names = [own.inspect.symbols.describe(address) for address in stack]
    assert any("syscall" in name for name in names), names
    with pytest.raises(KeyError):
        loaded.maps["stacks"].stack(63)


@pytest.mark.parametrize("name", ["sockets", "sockets_by_name"])
def test_sockets(name: str, own: Box, loaded: BpfObject) -> None:
    place = bytes([2, 0, 0x1E, 0x61, 127, 0, 0, 1]) + bytes(8)
    fd = own.syscall("socket", 2, 1, 0)
    own.syscall("bind", fd, place, len(place))
    own.syscall("listen", fd, 1)
    one = loaded.maps[name]
    one[0] = fd
    cookie = one[0]
    assert isinstance(cookie, int)
    assert cookie > 0
    own.syscall("close", fd)
    assert 0 not in one  # it leaves with its socket


def test_a_control_group_is_put_in(own: Box, loaded: BpfObject) -> None:
    if not own.exists("/sys/fs/cgroup/cgroup.procs"):
        own.syscall("mount", "cgroup2", "/sys/fs/cgroup", "cgroup2", 0, None)
    fd = own.syscall("open", "/sys/fs/cgroup", os.O_RDONLY, 0)
    loaded.maps["groups"][0] = fd
    with pytest.raises(OSError) as unreadable:
        loaded.maps["groups"][0]
    assert unreadable.value.errno == 524  # ENOTSUPP: the kernel gives none back
    own.syscall("close", fd)


def test_what_is_pinned_outlives_the_object(own: Box, debian_kernel: KernelImage) -> None:
    again = own.bpf.load(bpf_object("maps", debian_kernel))
    again.maps["second"][0] = 7
    number = again.maps["second"].id
    again.pin("/sys/fs/bpf/kept")
    again.unload()
    assert {"second", "looks"} <= set(own.listdir("/sys/fs/bpf/kept"))
    assert own.bpf.pinned_map("/sys/fs/bpf/kept/second").id == number
    assert own.bpf.pinned_map("/sys/fs/bpf/kept/second")[0] == 7
    with pytest.raises(OSError) as absent:
        own.bpf.pinned_map("/sys/fs/bpf/kept/nothing")
    assert absent.value.errno == errno.ENOENT
