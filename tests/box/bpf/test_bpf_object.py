"""eBPF objects in a box: loaded by libbpf, their maps, variables, programs and links."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import pytest

import kobox
from kobox.box.box import Box
from kobox.box.bpf.bpf_object import BpfLoadError, BpfObject
from kobox.box.bpf.programs import BpfAttachError
from kobox.box.bpf.typed import Fields
from kobox.errors import KoboxError
from kobox.images.store import KernelImage
from tests.bpf.objects import bpf_object


@pytest.fixture(scope="module")
def kinds(debian_kernel: KernelImage) -> Iterator[BpfObject]:
    """tests/bpf/programs/kinds.bpf.c, loaded in a box of its own."""
    with kobox.boot(debian_kernel) as own:
        yield own.bpf.load(bpf_object("kinds", debian_kernel))


POINT = {"x": -3, "low": 5, "high": 17, "name": "here", "raw": b"\1\2\3\4", "color": 7, "half": [1, 2]}


def test_a_structure_goes_in_and_comes_out(kinds: BpfObject) -> None:
    kinds.maps["points"][9] = POINT
    found = kinds.maps["points"][9]
    assert isinstance(found, Fields)
    assert {name: found[name] for name in POINT} == POINT
    assert found.whole == 2 << 32 | 1
    assert found.name == "here"
    assert dict(kinds.maps["points"]) == {9: found}
    kinds.maps["recent"][found] = 1  # a structure as the key
    assert kinds.maps["recent"][POINT] == 1


def test_a_hash_is_a_mapping(kinds: BpfObject) -> None:
    points = kinds.maps["points"]
    points[1] = bytes(32)
    assert 1 in points
    assert 77 not in points
    with pytest.raises(KeyError):
        points[77]
    del points[1]
    with pytest.raises(KeyError):
        del points[1]


def test_an_array_has_all_its_entries(kinds: BpfObject) -> None:
    numbers = kinds.maps["numbers"]
    numbers[2] = -7
    assert len(numbers) == 4
    assert list(numbers) == [0, 1, 2, 3]
    assert list(numbers.values()) == [0, 0, -7, 0]


def test_a_value_a_cpu(kinds: BpfObject) -> None:
    per_cpu = kinds.maps["per_cpu"]
    per_cpu[1] = [6]
    assert per_cpu[1] == [6]
    with pytest.raises(ValueError, match="2 values, and there may be 1 CPUs"):
        per_cpu[1] = [1, 2]


def test_a_queue_is_pushed_and_popped(kinds: BpfObject) -> None:
    queue = kinds.maps["queue"]
    queue.push(1)
    queue.push(2)
    with pytest.raises(OSError) as full:
        queue.push(3)
    assert full.value.errno == errno.E2BIG
    assert (queue.peek(), queue.pop(), queue.pop()) == (1, 1, 2)
    with pytest.raises(KeyError, match="empty"):
        queue.pop()
    with pytest.raises(KoboxError, match="has no keys"):
        list(queue)


def test_the_longest_prefix_matches(kinds: BpfObject) -> None:
    routes = kinds.maps["routes"]
    routes[{"length": 8, "address": bytes([10, 0, 0, 0])}] = 1
    routes[{"length": 16, "address": bytes([10, 1, 0, 0])}] = 2
    assert routes[{"length": 32, "address": bytes([10, 1, 2, 3])}] == 2
    assert routes[{"length": 32, "address": bytes([10, 2, 2, 3])}] == 1


def test_a_program_is_put_into_a_map_of_programs(kinds: BpfObject) -> None:
    caller, tails = kinds.programs["caller"], kinds.maps["tails"]
    assert caller.test_run(bytes(64)).result == 3
    tails[0] = kinds.programs["tail"]
    assert tails[0] == kinds.programs["tail"].id
    assert caller.test_run(bytes(64)).result == 42


@pytest.mark.parametrize("buffer", ["ring", "perf"])
def test_records_are_typed(kinds: BpfObject, buffer: str) -> None:
    link = kinds.programs["on_call"].attach()
    kinds.maps[buffer].records()
    kinds.programs["caller"].test_run(bytes(64))
    link.detach()
    records = kinds.maps[buffer].records("struct event")
    assert records
    assert all(isinstance(one, Fields) and one.comm for one in records)
    numbers = [one.number for one in records if isinstance(one, Fields)]
    assert numbers == sorted(numbers)


def test_an_iterator_prints(kinds: BpfObject) -> None:
    lines = kinds.programs["list_maps"].read().decode().splitlines()
    assert f"{kinds.maps['points'].id} points" in lines


def test_variables_before_and_after_the_load(box: Box, debian_kernel: KernelImage) -> None:
    opened = box.bpf.open(bpf_object("kinds", debian_kernel))
    assert (opened.globals["limit"], opened.globals["counter"]) == (3, 5)
    opened.globals["limit"] = -9
    opened.globals["last"] = POINT
    opened.resize("points", 2)
    opened.leave_out("on_call")
    with opened.load() as loaded:
        assert loaded.maps["points"].max_entries == 2
        assert "on_call" not in loaded.programs
        assert loaded.programs["caller"].test_run(bytes(64)).result == 0xFFFFFFF7
        loaded.globals["counter"] = 8
        assert loaded.globals["counter"] == 8
        assert isinstance(last := loaded.globals["last"], Fields)
        assert last.name == "here"
        with pytest.raises(OSError):
            loaded.globals["limit"] = 1  # .rodata is frozen


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("counter", 1 << 40, OverflowError),
        ("counter", "text", TypeError),
        ("last", {"z": 1}, ValueError),
        ("last", {"low": 9}, OverflowError),
        ("last", {"name": "much too long"}, OverflowError),
        ("absent", 1, KeyError),
    ],
)
def test_a_value_that_does_not_fit(kinds: BpfObject, name: str, value: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        kinds.globals[name] = value  # type: ignore[assignment]


def test_a_program_is_attached_and_detached(kinds: BpfObject) -> None:
    program = kinds.programs["on_call"]
    before = program.statistics.runs
    link = program.attach()
    kinds.maps["numbers"][0]
    seen = program.statistics.runs
    link.detach()
    kinds.maps["numbers"][0]
    assert before < seen < program.statistics.runs + 1
    assert not link.attached
    link.detach()


def test_a_filter_of_traffic(kinds: BpfObject) -> None:
    link = kinds.programs["caller"].attach("lo")
    assert "lo" in link.target
    link.detach()


def test_what_is_attached_to_nothing(kinds: BpfObject) -> None:
    with pytest.raises(BpfAttachError, match="no network interface eth9") as refused:
        kinds.programs["caller"].attach("eth9")
    assert refused.value.errno == errno.ENODEV


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"no object" * 99, bytes(64)])
def test_a_file_that_is_no_object(box: Box, content: bytes) -> None:
    with pytest.raises(BpfLoadError, match="libbpf cannot read it"):
        box.bpf.load(content)


def test_what_is_unloaded_is_gone(box: Box, debian_kernel: KernelImage) -> None:
    loaded = box.bpf.load(bpf_object("kinds", debian_kernel))
    loaded.programs["on_call"].attach()
    number = loaded.programs["on_call"].id
    loaded.unload()
    again = box.bpf.load(bpf_object("kinds", debian_kernel))
    assert number not in {program.id for program in again.programs.values()}
    assert box.bpf.load(bpf_object("kinds", debian_kernel)).maps["points"].id != again.maps["points"].id


def test_a_program_on_a_module_s_function(debian_kernel: KernelImage) -> None:
    content = bpf_object("module_function", debian_kernel)
    with kobox.boot(debian_kernel) as own:
        with pytest.raises(BpfLoadError, match="loop_control_ioctl"):
            own.bpf.load(content)  # the module is not there yet
        own.modprobe("loop")
        with own.bpf.load(content) as loaded:
            loaded.attach()
            with own.open("/dev/loop-control", "rb") as control:
                free = control.ioctl(0x4C82, 0)  # LOOP_CTL_GET_FREE
            assert (loaded.globals["calls"], loaded.globals["command"]) == (1, 0x4C82)
            assert loaded.globals["result"] == free
            with pytest.raises(KoboxError):
                own.rmmod("loop")  # the kernel holds it while a program is attached
        own.sleep(1)
        own.rmmod("loop")


def test_runs_are_counted_after_a_reset(box: Box, debian_kernel: KernelImage) -> None:
    for _ in range(2):
        with box.bpf.load(bpf_object("kinds", debian_kernel)) as loaded:
            loaded.programs["tail"].test_run(bytes(64))
            assert loaded.programs["tail"].statistics.runs == 1
        box.reset()
