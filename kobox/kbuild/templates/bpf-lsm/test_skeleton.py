"""Run by `pytest`: skeleton.bpf.o in a fresh box for each test."""

from pathlib import Path

import kobox
import pytest


@pytest.fixture(scope="session")
def program():
    [made] = kobox.build(Path(__file__).parent)
    return made


def bind(box, port):
    fd = box.syscall("socket", 2, 1, 0)
    place = bytes([2, 0]) + port.to_bytes(2, "big") + bytes(12)
    try:
        return box.syscall("bind", fd, place, len(place))
    finally:
        box.syscall("close", fd)


def test_the_port_is_refused(box, program):
    with box.bpf.load(program) as loaded:
        loaded.attach()
        with pytest.raises(PermissionError):
            bind(box, 8080)
        assert bind(box, 8081) == 0
        assert loaded.globals["refused"] == 1
        loaded.detach()
        assert bind(box, 8080) == 0
