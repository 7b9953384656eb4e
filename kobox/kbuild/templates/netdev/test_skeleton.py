import socket
import struct

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
ETH_P_ALL = 3


def bring_up(box, name):
    with box.network.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", name.encode(), 0)
        request = bytearray(request)
        box.syscall("ioctl", control.fileno(), SIOCGIFFLAGS, request)
        flags = struct.unpack_from("h", request, 16)[0] | IFF_UP
        struct.pack_into("h", request, 16, flags)
        box.syscall("ioctl", control.fileno(), SIOCSIFFLAGS, request)


def test_a_packet_comes_back(box, module):
    loaded = box.insmod(module)
    bring_up(box, "skeleton0")
    statistics = box.path("/sys/class/net/skeleton0/statistics")
    before = int((statistics / "tx_packets").read_text())
    with box.network.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as packets:
        packets.bind(("skeleton0", ETH_P_ALL))
        frame = b"\xff" * 6 + b"\x02" + bytes(5) + b"\x88\xb5" + b"hello, wire".ljust(50, b"\0")
        packets.send(frame)
        while packets.recv(2000) != frame:
            pass  # what the kernel itself sends when an interface comes up
    assert int((statistics / "tx_packets").read_text()) > before
    assert int((statistics / "rx_packets").read_text()) > 0
    loaded.unload()
    assert not statistics.exists()
