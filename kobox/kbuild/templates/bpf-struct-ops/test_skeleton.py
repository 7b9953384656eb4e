"""Run by `pytest`: skeleton.bpf.o in a fresh box for each test."""

from pathlib import Path

import kobox
import pytest


@pytest.fixture(scope="session")
def program():
    [made] = kobox.build(Path(__file__).parent)
    return made


TCP_CONGESTION = 13
AVAILABLE = "/proc/sys/net/ipv4/tcp_available_congestion_control"


def test_tcp_knows_it_while_it_is_attached(box, program):
    with box.bpf.load(program) as loaded:
        loaded.attach()
        assert "skeleton" in box.read_text(AVAILABLE).split()
        loaded.detach()
    box.sleep(1)
    assert "skeleton" not in box.read_text(AVAILABLE).split()


def test_a_socket_takes_it(box, program):
    with box.bpf.load(program) as loaded:
        loaded.attach()
        fd = box.syscall("socket", 2, 1, 0)
        box.syscall("setsockopt", fd, 6, TCP_CONGESTION, b"skeleton", len("skeleton"))
        chosen = bytearray(16)
        box.syscall("getsockopt", fd, 6, TCP_CONGESTION, chosen, bytearray([16, 0, 0, 0]))
        assert chosen.split(b"\0")[0] == b"skeleton"
        box.syscall("close", fd)
