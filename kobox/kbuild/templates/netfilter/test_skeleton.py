import socket

import pytest


def test_packets_to_the_port_are_dropped_and_the_others_counted(box, module):
    loaded = box.insmod(module, port=9)
    receivers = {}
    for port in (9, 10):
        receivers[port] = box.network.socket(socket.AF_INET, socket.SOCK_DGRAM)
        receivers[port].bind(("127.0.0.1", port))
    sender = box.network.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for port in (9, 10, 9):
        sender.sendto(b"hello", ("127.0.0.1", port))
    assert receivers[10].recv(100) == b"hello"
    with pytest.raises(BlockingIOError):
        receivers[9].recv(100, socket.MSG_DONTWAIT)
    parameters = box.path("/sys/module/skeleton/parameters")
    assert (parameters / "seen").read_text() == "3\n"
    assert (parameters / "dropped").read_text() == "2\n"
    loaded.unload()
    assert "skeleton: 3 seen, 2 dropped" in box.log.text()
