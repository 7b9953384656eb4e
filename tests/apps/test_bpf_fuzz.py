"""Inputs made at random for programs of eBPF: what they reach, that they repeat, which kinds take some."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kobox.apps.bpf_coverage import cover
from kobox.apps.bpf_fuzz import FuzzInput, fuzz
from kobox.apps.bpf_listing import listing
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


TAKE = ("of_raw_tp", "of_syscall", "of_sk_lookup", "of_flow_dissector", "of_socket", "of_cgroup_ingress", "of_tc")
TAKE_NONE = ("of_kprobe", "of_fentry", "of_lsm", "of_sockops")


@pytest.fixture(scope="module")
def branches(own: Box, debian_kernel: KernelImage) -> Iterator[BpfObject]:
    with own.bpf.load(bpf_object("branches", debian_kernel)) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def kinds(own: Box, debian_kernel: KernelImage) -> Iterator[BpfObject]:
    opened = own.bpf.open(bpf_object("attach_kinds", debian_kernel))
    opened.choose(*TAKE, *TAKE_NONE)
    with opened.load() as loaded:
        yield loaded


def test_numbers_that_are_compared_with_are_tried(own: Box, branches: BpfObject) -> None:
    report = fuzz(own, branches, "deep_inside", runs=300, seed=1)
    assert report.sides == report.of_sides == 8, report.missed
    assert set(report.results) == {"XDP_ABORTED", "XDP_PASS", "XDP_DROP", "XDP_TX"}
    assert {kept.result for kept in report.kept} == set(report.results)
    assert report.slowest is not None
    assert report.costs is not None
    assert report.slowest.own == report.costs.own[2]
    assert report.problems == ()


def test_the_same_seed_gives_the_same_report(own: Box, branches: BpfObject) -> None:
    reports = [fuzz(own, branches, "two_ways", runs=60, seed=seed).plain() for seed in (3, 3, 4)]
    assert reports[0] == reports[1]
    assert reports[0] != reports[2]


def test_inputs_of_the_caller_come_first(own: Box, branches: BpfObject) -> None:
    report = fuzz(own, branches, "two_ways", runs=1, inputs=[FuzzInput(bytes([7]) + bytes(63))])
    assert report.results == {"TC_ACT_RECLASSIFY": 1}


@pytest.mark.parametrize("name", TAKE)
def test_kinds_that_take_an_input(name: str, own: Box, kinds: BpfObject) -> None:
    report = fuzz(own, kinds, name, runs=30)
    assert report.runs == 30
    assert sum(report.results.values()) + report.refused == 30
    assert report.results, "none was taken"


@pytest.mark.parametrize("name", TAKE_NONE)
def test_kinds_that_take_none_say_so(name: str, own: Box, kinds: BpfObject) -> None:
    with pytest.raises(KoboxError, match=r"takes no input of one's own"):
        fuzz(own, kinds, name)


def test_what_is_attached_is_covered_while_the_box_is_used(own: Box, branches: BpfObject) -> None:
    done = cover(own, branches, ["reads", "two_ways"])
    reads, two_ways = done.programs
    assert reads.costs is not None
    assert reads.costs.runs > 5
    assert reads.sides == 1
    (missed,) = reads.missed()
    assert missed.startswith("branches.bpf.c:")
    assert "the jump was " in missed
    assert two_ways.sides >= 2
    assert done.unattached == ()
    assert done.problems == ()


def test_a_listing_has_lines_calls_and_functions(own: Box, branches: BpfObject) -> None:
    row = listing(own, branches.programs["loops"])
    called = listing(own, branches.programs["look_ups"])
    assert [line.function for line in row.lines if line.function] == ["loops", "step", "weigh"]
    assert any("number % 3 == 0" in line.source and line.place.startswith("branches.bpf.c:") for line in row.lines)
    texts = [one.text for line in called.lines for one in line.instructions]
    assert any(text.startswith("call __htab_map_lookup_elem#") for text in texts)
    assert row.costs is None
    assert row.machine_bytes > 100
