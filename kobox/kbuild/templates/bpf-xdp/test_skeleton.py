"""Run by `pytest`: skeleton.bpf.o in a fresh box for each test."""

from pathlib import Path

import kobox
import pytest


@pytest.fixture(scope="session")
def program():
    [made] = kobox.build(Path(__file__).parent)
    return made


def udp(port):
    ip = b"\x45" + bytes(8) + bytes([17]) + bytes(10)
    header = bytes([0, 9]) + port.to_bytes(2, "big") + bytes(4)
    return bytes(12) + b"\x08\x00" + ip + header + bytes(20)


def test_udp_to_the_port_is_dropped(box, program):
    with box.bpf.load(program) as loaded:
        xdp = loaded.programs["skeleton_xdp"]
        assert xdp.test_run(udp(9999)).name == "XDP_DROP"
        assert xdp.test_run(udp(53)).name == "XDP_PASS"
        assert loaded.maps["packets"][17] == [2]


def test_the_port_can_be_chosen(box, program):
    with box.bpf.load(program, variables={"port": 53}) as loaded:
        assert loaded.programs["skeleton_xdp"].test_run(udp(53)).name == "XDP_DROP"


def test_a_packet_that_is_too_short_passes(box, program):
    with box.bpf.load(program) as loaded:
        assert loaded.programs["skeleton_xdp"].test_run(bytes(20)).name == "XDP_PASS"


def test_it_is_attached_to_an_interface(box, program):
    with box.bpf.load(program) as loaded:
        [link] = loaded.attach("lo")
        assert link.target == "lo"
        loaded.detach()
