"""A box's network card whose other end is here, and boxes joined by wires."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, icmptypes  # noqa: F401
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw
from scapy.utils import rdpcap, wrpcap

import kobox
from kobox.box.boot.boot import boot
from kobox.box.box import Box
from kobox.box.devices.network import Card
from kobox.box.devices.pcap import read_pcap
from kobox.errors import KernelPanicError, KoboxError
from kobox.images.store import KernelImage
from tests.building import BuiltTestModules
from tests.debian import Suite

ME, MINE = "02:00:00:00:00:01", "10.0.0.1"
HIS, THEIRS = "10.0.0.2", "02:6b:6f:62:6f:00"


@pytest.fixture(scope="module")
def rooms(debian_kernel: KernelImage) -> Iterator[list[Box]]:
    """Three boxes, given out clean by `box` and `boxes`."""
    made = [boot(debian_kernel) for _ in range(3)]
    yield made
    for box in made:
        box.close()


@pytest.fixture
def boxes(rooms: list[Box]) -> list[Box]:
    for box in rooms:
        box.reset()
        box.inspect.probes.clear()
        box.limits.cpu = 20.0
    return rooms


@pytest.fixture
def box(boxes: list[Box]) -> Box:
    return boxes[0]


@pytest.fixture
def card(box: Box) -> Card:
    """eth0, up, with an address, and with ours known to it."""
    eth0 = box.network.eth0
    box.write_bytes("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", b"1")  # it talks by itself
    eth0.up(f"{HIS}/24")
    eth0.send(bytes(Ether(src=ME, dst=THEIRS) / ARP(op=1, hwsrc=ME, psrc=MINE, pdst=HIS)))
    box.sleep(0.01)
    eth0.frames.clear()
    return eth0


def to_box(packet: IP | IPv6) -> bytes:
    return bytes(Ether(src=ME, dst=THEIRS) / packet)


def receive(card: Card, kind: type) -> Ether:
    """The next frame with a layer of that kind."""
    while (frame := card.receive()) is not None:
        if kind in (parsed := Ether(frame)):
            return parsed
    raise AssertionError(f"no {kind.__name__} came")


def test_a_card_is_there_when_it_is_asked_for(box: Box) -> None:
    assert "eth0" not in box.listdir("/sys/class/net")
    eth0 = box.network.eth0
    assert (eth0.name, eth0.mac) == ("eth0", THEIRS)
    assert box.network.eth0 is eth0
    assert box.network["eth0"] is eth0
    assert os.path.basename(box.readlink("/sys/class/net/eth0/device/driver")) == "virtio_net"
    with pytest.raises(KeyError):
        box.network["eth7"]


def test_more_cards_with_names_and_addresses_of_their_own(box: Box) -> None:
    assert box.network.eth0.name == "eth0"
    lan = box.network.add(name="lan0", mac="02:11:22:33:44:55")
    other = box.network.add()
    assert (lan.name, lan.mac, other.name) == ("lan0", "02:11:22:33:44:55", "eth1")
    assert [card.name for card in box.network] == ["eth0", "lan0", "eth1"]
    lan.up("10.1.0.1/24")
    lan.send(bytes(Ether(src=ME, dst="ff:ff:ff:ff:ff:ff") / ARP(op=1, hwsrc=ME, psrc="10.1.0.2", pdst="10.1.0.1")))
    assert receive(lan, ARP)[ARP].hwsrc == "02:11:22:33:44:55"
    other.remove()
    assert not other.plugged
    assert "eth1" not in box.listdir("/sys/class/net")
    with pytest.raises(KoboxError, match="not in its box"):
        other.send(bytes(60))
    with pytest.raises(ValueError, match="six bytes"):
        box.network.add(mac="02:11")


def test_every_place_can_be_taken_and_no_more(box: Box) -> None:
    for _ in range(16):
        box.network.add()
    with pytest.raises(KoboxError, match="are taken"):
        box.network.add()


def test_arp_is_answered(box: Box) -> None:
    eth0 = box.network.eth0
    eth0.up(f"{HIS}/24")
    eth0.send(Ether(src=ME, dst="ff:ff:ff:ff:ff:ff") / ARP(op=1, hwsrc=ME, psrc=MINE, pdst=HIS))
    answer = receive(eth0, ARP)
    assert (answer.dst, answer[ARP].op, answer[ARP].hwsrc, answer[ARP].psrc) == (ME, 2, THEIRS, HIS)


def test_echo_is_answered(card: Card) -> None:
    for number in range(3):
        card.send(to_box(IP(src=MINE, dst=HIS) / ICMP(id=7, seq=number) / Raw(b"x" * 1000)))
        answer = receive(card, ICMP)
        assert (answer[ICMP].type, answer[ICMP].id, answer[ICMP].seq, len(answer[Raw])) == (0, 7, number, 1000)


def test_echo_over_ipv6(box: Box) -> None:
    eth0 = box.network.eth0
    eth0.up("fd00::2/64")
    box.sleep(5)  # duplicate address detection takes up to 3
    eth0.frames.clear()
    eth0.send(
        Ether(src=ME, dst="33:33:ff:00:00:02")
        / IPv6(src="fd00::1", dst="ff02::1:ff00:2")
        / ICMPv6ND_NS(tgt="fd00::2")
        / ICMPv6NDOptSrcLLAddr(lladdr=ME)
    )
    assert receive(eth0, ICMPv6ND_NA)[ICMPv6ND_NA].tgt == "fd00::2"
    eth0.send(to_box(IPv6(src="fd00::1", dst="fd00::2") / ICMPv6EchoRequest(id=1, seq=2, data=b"six")))
    assert receive(eth0, ICMPv6EchoReply)[ICMPv6EchoReply].data == b"six"


def test_datagrams_in_and_out(box: Box, card: Card) -> None:
    with box.network.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((HIS, 4000))
        card.send(to_box(IP(src=MINE, dst=HIS) / UDP(sport=5000, dport=4000) / b"question"))
        assert server.recvfrom(100) == (b"question", (MINE, 5000))
        server.sendto(b"answer", (MINE, 5000))
        packet = receive(card, UDP)
        assert (packet[UDP].sport, packet[UDP].dport, packet[Raw].load) == (4000, 5000, b"answer")


def test_a_netfilter_module_is_shown_real_packets(box: Box, card: Card, modules: BuiltTestModules) -> None:
    udpfilter = box.insmod(modules("udpfilter"), port=53)
    with box.network.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((HIS, 0))
        port = server.getsockname()[1]
        for number in range(5):
            card.send(to_box(IP(src=MINE, dst=HIS) / UDP(sport=5000, dport=53) / bytes(number)))
            card.send(to_box(IP(src=MINE, dst=HIS) / UDP(sport=5000, dport=port) / bytes([number])))
        assert [server.recv(10) for _ in range(5)] == [bytes([number]) for number in range(5)]
    assert (udpfilter.parameters["dropped"], udpfilter.parameters["passed"]) == ("5", "5")
    assert [record.text for record in udpfilter.log][-1] == "udpfilter: dropped 4 bytes to port 53"
    udpfilter.unload()
    assert not box.findings


def test_receive_gives_up_after_its_time(box: Box, card: Card) -> None:
    before = box.time
    assert card.receive(timeout=5) is None
    assert 5 <= round(box.time - before, 6) < 5.01


def test_callbacks_see_what_the_box_sends_and_may_answer(box: Box, card: Card) -> None:
    def answer(frame: bytes) -> None:
        packet = Ether(frame)
        if UDP in packet:
            card.send(to_box(IP(src=MINE, dst=HIS) / UDP(sport=9, dport=packet[UDP].sport) / packet[Raw].load.upper()))

    take_away = card.on_frame(answer)
    with box.network.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"loud", (MINE, 9))
        assert client.recv(10) == b"LOUD"
        take_away()
        client.sendto(b"quiet", (MINE, 9))
        assert receive(card, UDP)[Raw].load == b"quiet"


def test_what_a_callback_raises_comes_out_of_the_call(box: Box, card: Card) -> None:
    def refuse(frame: bytes) -> None:
        raise LookupError("no such frame")

    take_away = card.on_frame(refuse)
    with box.network.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        with pytest.raises(LookupError, match="no such frame"):
            client.sendto(b"x", (MINE, 9))
        take_away()
        client.sendto(b"y", (MINE, 9))
        assert receive(card, UDP)[Raw].load == b"y"
    assert not box.findings


def test_a_capture_holds_both_ways_and_the_time(box: Box, card: Card, tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    with card.capture(path) as capture:
        card.send(to_box(IP(src=MINE, dst=HIS) / ICMP(seq=1)))
        receive(card, ICMP)
        box.sleep(3)
        card.send(to_box(IP(src=MINE, dst=HIS) / ICMP(seq=2)))
        receive(card, ICMP)
    card.send(to_box(IP(src=MINE, dst=HIS) / ICMP(seq=3)))
    assert capture.frames == 4
    seen = [(p[ICMP].type, p[ICMP].seq) for p in rdpcap(str(path)) if ICMP in p]
    assert seen == [(8, 1), (0, 1), (8, 2), (0, 2)]
    times = [time for time, _ in read_pcap(path)]
    assert 3 <= (times[2] - times[0]) / 1e9 < 3.1
    spec = bytearray(16)
    box.syscall("clock_gettime", 0, spec)
    assert 0 <= struct.unpack("<q", spec[:8])[0] - times[-1] // 10**9 <= 2


def test_a_capture_is_replayed_with_its_pauses(box: Box, card: Card, tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    packets = [Ether(to_box(IP(src=MINE, dst=HIS) / ICMP(seq=n))) for n in range(3)]
    for n, packet in enumerate(packets):
        packet.time = 1000 + 2 * n
    wrpcap(str(path), packets)
    before = box.time
    assert card.replay(path) == 3
    assert 4 <= box.time - before < 4.1
    assert [receive(card, ICMP)[ICMP].seq for _ in range(3)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "no pcap file"),
        (b"\x0a\x0d\x0d\x0a" + bytes(40), "no pcap file"),
        (struct.pack("<IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 113), "link type 113"),
        (struct.pack("<IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + bytes(5), "frame's header"),
        (struct.pack("<IHHIIIIIIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1, 0, 0, 60, 60) + bytes(9), "middle of a frame"),
    ],
)
def test_a_damaged_capture_is_refused(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "x.pcap"
    path.write_bytes(content)
    with pytest.raises(KoboxError, match=what):
        list(read_pcap(path))


def test_big_endian_captures_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    header = struct.pack(">IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    path.write_bytes(header + struct.pack(">IIII", 5, 6, 3, 3) + b"abc")
    assert list(read_pcap(path)) == [(5_000_006_000, b"abc")]


def test_addresses_routes_and_what_is_none(box: Box) -> None:
    eth0 = box.network.eth0
    with pytest.raises(ValueError, match="10\\.0\\.0\\.300"):
        eth0.up("10.0.0.300/24")
    eth0.up("10.0.0.2/24", "fd00::2/64", gateway="10.0.0.1")
    routes = [line.split()[:3] for line in box.read_text("/proc/net/route").splitlines()[1:]]
    assert ["eth0", "00000000", "0100000A"] in routes
    addresses = box.read_text("/proc/net/if_inet6")
    assert "fd000000000000000000000000000002" in addresses
    eth0.up(gateway="fd00::1")
    route = next(
        line.split() for line in box.read_text("/proc/net/ipv6_route").splitlines() if line.startswith("0" * 32)
    )
    assert (route[4], route[8][-2:], route[9]) == ("fd000000000000000000000000000001", "03", "eth0")


def test_the_cable_is_pulled_and_put_back(box: Box, card: Card) -> None:
    card.link = False
    box.sleep(0.1)
    assert box.read_text("/sys/class/net/eth0/carrier").strip() == "0"
    card.link = True
    box.sleep(0.1)
    assert box.read_text("/sys/class/net/eth0/carrier").strip() == "1"


def test_frames_that_do_not_fit_are_lost_and_counted(box: Box, card: Card) -> None:
    card.send(bytes(9000))
    card.send(to_box(IP(src=MINE, dst=HIS) / ICMP(seq=5)))
    assert receive(card, ICMP)[ICMP].seq == 5
    assert card.lost == 1
    for wrong in (b"", bytes(13), bytes(70000)):
        with pytest.raises(ValueError, match="an Ethernet frame has"):
            card.send(wrong)


def test_a_card_that_is_down_takes_nothing_and_breaks_nothing(box: Box) -> None:
    eth0 = box.network.eth0
    for _ in range(5000):
        eth0.send(bytes(60))
    box.sleep(1)
    assert eth0.receive(0.1) is None
    eth0.up(f"{HIS}/24")
    assert not box.findings


def test_a_reset_takes_the_card_out_and_a_checkpoint_brings_it_back(box: Box, card: Card) -> None:
    def echo(number: int) -> int:
        card.send(to_box(IP(src=MINE, dst=HIS) / ICMP(seq=number)))
        return int(receive(card, ICMP)[ICMP].seq)

    kept = box.checkpoint()
    assert echo(1) == 1
    box.reset()
    assert not card.plugged
    assert "eth0" not in box.listdir("/sys/class/net")
    kept.restore()
    assert card.plugged
    assert [echo(n) for n in range(300)] == list(range(300))  # more than the queue has places
    kept.restore()
    assert echo(2) == 2
    kept.release()
    assert not box.findings


def test_two_runs_are_equal(box: Box) -> None:
    def run() -> tuple[str, list[str], float]:
        box.reset()
        eth0 = box.network.eth0
        eth0.up(f"{HIS}/24", "fd00::2/64")
        eth0.send(Ether(src=ME, dst=THEIRS) / ARP(op=1, hwsrc=ME, psrc=MINE, pdst=HIS))
        for number in range(10):
            eth0.send(to_box(IP(src=MINE, dst=HIS) / ICMP(seq=number)))
        frames = []
        while frame := eth0.receive(5):
            frames.append(frame.hex())
        return box.log.text(), frames, box.time

    assert run() == run()


def test_nonsense_in_a_queue_stops_the_card_and_nothing_else(box: Box, card: Card) -> None:
    queue = card.virtio.queues[0]
    for n in range(queue.size):  # as a hostile module would
        struct.pack_into("<QIHH", box.machine.ram, queue.descriptors + 16 * n, 1 << 60, 1500, 2, 0)
    card.send(bytes(60))
    assert card.virtio.status & 0x40
    card.virtio.queues[1].available = 1 << 50
    card.virtio.status &= ~0x40
    with box.network.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"x", (MINE, 9))
    assert card.receive(0.1) is None
    assert "eth0" in box.listdir("/sys/class/net")


_XDP_ATTACH, _BPF_PROG_TYPE_XDP = 37, 6


def xdp_program(box: Box, result: int) -> int:
    """A descriptor of an XDP program that returns `result`."""
    code = struct.pack("<BBhi", 0xB7, 0, 0, result) + struct.pack("<BBhi", 0x95, 0, 0, 0)
    base = box.syscall("mmap", 0, 4096, 3, 0x22, -1, 0)
    box.guest.write(base, code + b"GPL\0")
    attribute = struct.pack("<IIQQ", _BPF_PROG_TYPE_XDP, 2, base, base + len(code))
    return box.syscall("bpf", 5, attribute.ljust(128, b"\0"), 128)


def test_xdp_programs_run_on_the_card(box: Box, card: Card) -> None:
    index = int(box.read_text("/sys/class/net/eth0/ifindex"))
    for result, answered in ((1, False), (2, True)):  # XDP_DROP, XDP_PASS
        link = box.syscall(
            "bpf", 28, struct.pack("<IIII", xdp_program(box, result), index, _XDP_ATTACH, 0).ljust(64, b"\0"), 64
        )
        card.frames.clear()
        for number in range(10):
            card.send(to_box(IP(src=MINE, dst=HIS) / ICMP(seq=number)))
        answers = []
        while frame := card.receive(0.1):
            answers.append(frame)
        assert len(answers) == (10 if answered else 0)
        box.syscall("close", link)
        box.sleep(0.1)
    card.send(to_box(IP(src=MINE, dst=HIS) / ICMP(seq=1)))
    assert receive(card, ICMP)


def test_an_xdp_program_counts_frames_in_a_map(box: Box, card: Card) -> None:
    index = int(box.read_text("/sys/class/net/eth0/ifindex"))
    counter = box.syscall("bpf", 0, struct.pack("<IIIII", 2, 4, 8, 1, 0).ljust(128, b"\0"), 128)  # an array of one u64
    instructions = (
        (0x62, 10, 0, -4, 0),  # *(u32 *)(fp - 4) = 0
        (0xBF, 2, 10, 0, 0),  # r2 = fp - 4
        (0x07, 2, 0, 0, -4),
        (0x18, 1, 1, 0, counter),  # r1 = the map
        (0x00, 0, 0, 0, 0),
        (0x85, 0, 0, 0, 1),  # r0 = bpf_map_lookup_elem(r1, r2)
        (0x15, 0, 0, 2, 0),  # if r0 != 0:
        (0xB7, 1, 0, 0, 1),
        (0xDB, 0, 1, 0, 0),  # lock *(u64 *)r0 += 1
        (0xB7, 0, 0, 0, 2),  # return XDP_PASS
        (0x95, 0, 0, 0, 0),
    )
    code = b"".join(struct.pack("<BBhi", op, dst | src << 4, off, imm) for op, dst, src, off, imm in instructions)
    page = box.syscall("mmap", 0, 4096, 3, 0x22, -1, 0)
    box.guest.write(page, code.ljust(1024, b"\0") + b"GPL\0")
    attribute = struct.pack("<IIQQ", _BPF_PROG_TYPE_XDP, len(code) // 8, page, page + 1024)
    program = box.syscall("bpf", 5, attribute.ljust(128, b"\0"), 128)
    box.syscall("bpf", 28, struct.pack("<IIII", program, index, _XDP_ATTACH, 0).ljust(64, b"\0"), 64)
    for number in range(25):
        card.send(to_box(IP(src=MINE, dst=HIS) / ICMP(seq=number)))
    assert receive(card, ICMP)
    box.syscall("bpf", 1, struct.pack("<IIQQQ", counter, 0, page + 2048, page + 3072, 0).ljust(128, b"\0"), 128)
    assert struct.unpack("<Q", box.guest.read(page + 3072, 8)) == (25,)


@pytest.mark.parametrize("suite", ["trixie_kernel", "sid_kernel"])
def test_newer_kernels(suite: str, request: pytest.FixtureRequest) -> None:
    with boot(request.getfixturevalue(suite)) as box:
        eth0 = box.network.eth0
        eth0.up(f"{HIS}/24")
        eth0.send(Ether(src=ME, dst="ff:ff:ff:ff:ff:ff") / ARP(op=1, hwsrc=ME, psrc=MINE, pdst=HIS))
        assert receive(eth0, ARP)[ARP].hwsrc == eth0.mac
        assert not box.findings


def test_a_kernel_without_modules_says_so(debian_kernel: KernelImage) -> None:
    from kobox.box.boot.bare_boot import boot as bare_boot

    with bare_boot(debian_kernel) as box, pytest.raises(KoboxError, match="no such driver"):
        box.network.add()


# -- joined boxes ----------------------------------------------------------------------------------------------------


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def ping(box: Box, host: str, count: int = 1) -> list[float | None]:
    """Virtual milliseconds of each round trip, by a raw socket; None for one without an answer."""
    times: list[float | None] = []
    with box.network.socket(socket.AF_INET, socket.SOCK_RAW, 1) as sock:
        sock.settimeout(1)
        for number in range(count):
            packet = struct.pack(">BBHHH", 8, 0, 0, 7, number) + bytes(56)
            packet = packet[:2] + struct.pack(">H", checksum(packet)) + packet[4:]
            before = box.time
            sock.sendto(packet, (host, 0))
            try:
                while struct.unpack_from(">BxxxxxH", sock.recv(2000), 20) != (0, number):
                    pass
                times.append((box.time - before) * 1000)
            except TimeoutError:
                times.append(None)
    return times


@pytest.fixture
def joined(boxes: list[Box]) -> tuple[Box, Box]:
    first, second, _ = boxes
    kobox.join(first.network.eth0, second.network.eth0)
    first.network.eth0.up("10.0.0.1/24", "fd00::1/64")
    second.network.eth0.up("10.0.0.2/24", "fd00::2/64")
    return first, second


def test_joined_boxes_reach_each_other(joined: tuple[Box, Box]) -> None:
    first, second = joined
    assert first.network.eth0.mac != second.network.eth0.mac
    for box, host in ((first, "10.0.0.2"), (second, "10.0.0.1")):
        times = ping(box, host, 10)
        assert all(time is not None and 0.1 < time < 2 for time in times)
    assert ping(first, "10.0.0.3") == [None]


def test_a_program_pings_the_other_box(joined: tuple[Box, Box]) -> None:
    busybox = Suite("bookworm").package("busybox-static") / "bin/busybox"
    done = joined[0].run([str(busybox), "ping", "-c", "5", "10.0.0.2"], capture_output=True, text=True, timeout=20)
    assert "5 packets transmitted, 5 packets received, 0% packet loss" in done.stdout


def test_joined_clocks_are_in_step(joined: tuple[Box, Box]) -> None:
    first, second = joined
    ahead = second.time - first.time
    first.sleep(100)
    ping(first, "10.0.0.2", 5)
    second.sleep(50)
    ping(second, "10.0.0.1", 5)
    assert abs(second.time - first.time - ahead) < 0.005


def test_datagrams_wait_in_the_other_box(joined: tuple[Box, Box]) -> None:
    first, second = joined
    with (
        first.network.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client,
        second.network.socket(socket.AF_INET6, socket.SOCK_DGRAM) as server,
    ):
        first.sleep(5)  # duplicate address detection takes up to 3
        server.bind(("::", 4000))
        client.sendto(b"over there", ("fd00::2", 4000))
        first.sleep(1)
        data, sender = server.recvfrom(100)
        assert (data, sender[0]) == (b"over there", "fd00::1")


def test_a_stream_between_boxes(joined: tuple[Box, Box]) -> None:
    first, second = joined
    data = bytes(range(256)) * 1024
    server = second.network.socket(socket.AF_INET, socket.SOCK_STREAM)
    server.bind(("10.0.0.2", 80))
    server.listen()
    waiter = second.process()
    accepting = waiter.start("accept4", server.fileno(), None, None, 0)
    client = first.network.socket(socket.AF_INET, socket.SOCK_STREAM)
    client.connect(("10.0.0.2", 80))
    fd = accepting.result(5)
    sender = first.process()
    sending = sender.start("write", client.fileno(), data, len(data))
    got = b""
    buffer = bytearray(65536)
    while len(got) < len(data):
        got += bytes(buffer[: waiter.syscall("read", fd, buffer, len(buffer))])
    assert got == data
    assert sending.result(5) == len(data)
    client.close()
    assert waiter.syscall("read", fd, buffer, 10) == 0
    assert not first.findings + second.findings


def test_a_box_between_two_others_forwards(boxes: list[Box]) -> None:
    left, router, right = boxes
    kobox.join(left.network.eth0, router.network.eth0)
    kobox.join(right.network.eth0, router.network.add())
    left.network.eth0.up("10.1.0.1/24", gateway="10.1.0.254")
    right.network.eth0.up("10.2.0.1/24", gateway="10.2.0.254")
    router.network["eth0"].up("10.1.0.254/24")
    router.network["eth1"].up("10.2.0.254/24")
    router.write_bytes("/proc/sys/net/ipv4/ip_forward", b"1")
    assert all(time is not None for time in ping(left, "10.2.0.1", 5))
    assert all(time is not None for time in ping(right, "10.1.0.1", 5))


def test_a_box_between_two_others_is_their_bridge(boxes: list[Box]) -> None:
    left, middle, right = boxes
    kobox.join(left.network.eth0, middle.network.eth0)
    kobox.join(right.network.eth0, middle.network.add())
    assert len({card.mac for box in boxes for card in box.network}) == 4
    with middle.network.socket(socket.AF_INET, socket.SOCK_STREAM) as control:
        control.ioctl(0x89A0, bytearray(b"br0".ljust(16, b"\0")))  # SIOCBRADDBR; the kernel asks for its module
        for card in middle.network:
            index = int(middle.read_text(f"/sys/class/net/{card.name}/ifindex"))
            control.ioctl(0x89A2, bytearray(struct.pack("<16si20x", b"br0", index)))  # SIOCBRADDIF
            card.set_up(True)
        control.ioctl(0x8914, bytearray(struct.pack("<16sH22x", b"br0", 1)))  # SIOCSIFFLAGS: up
    left.network.eth0.up("10.0.0.1/24")
    right.network.eth0.up("10.0.0.2/24")
    left.sleep(1)
    assert all(time is not None for time in ping(left, "10.0.0.2", 5))


def test_two_runs_of_joined_boxes_are_equal(boxes: list[Box]) -> None:
    def run() -> tuple[object, ...]:
        for box in boxes:
            box.reset()
        first, second, _ = boxes
        kobox.join(first.network.eth0, second.network.eth0)
        first.network.eth0.up("10.0.0.1/24")
        second.network.eth0.up("10.0.0.2/24")
        return ping(first, "10.0.0.2", 20), first.log.text(), second.log.text(), first.time, second.time

    assert run() == run()


def test_a_cut_wire_carries_nothing(joined: tuple[Box, Box]) -> None:
    first, second = joined
    wire = first.network.eth0.wire
    assert wire is not None
    with pytest.raises(KoboxError, match="joined already"):
        kobox.join(first.network.eth0, second.network.add())
    wire.cut()
    assert ping(first, "10.0.0.2") == [None]
    assert not first.events.step
    kobox.join(first.network.eth0, second.network.eth0)
    assert ping(first, "10.0.0.2", 5)[-1] is not None  # once the address has been asked for again
    with pytest.raises(KoboxError, match="of one box"):
        kobox.join(first.network.eth0, first.network.add())


def test_the_other_box_dies_is_reset_or_goes_back(joined: tuple[Box, Box]) -> None:
    first, second = joined
    kept = second.checkpoint()
    assert ping(first, "10.0.0.2") != [None]
    kept.restore()
    assert ping(first, "10.0.0.2") != [None]
    second.write_bytes("/proc/sys/kernel/sysrq", b"1")
    with pytest.raises(KernelPanicError):
        second.write_bytes("/proc/sysrq-trigger", b"c")
    assert not second.alive
    assert ping(first, "10.0.0.2") == [None]
    kept.restore()
    assert ping(first, "10.0.0.2") != [None]
    kept.release()
    second.reset()  # its card is gone, and with it the wire
    assert first.network.eth0.wire is None
    assert ping(first, "10.0.0.2") == [None]


def test_a_joined_box_is_closed(debian_kernel: KernelImage, box: Box) -> None:
    with boot(debian_kernel) as other:
        kobox.join(box.network.eth0, other.network.eth0)
        box.network.eth0.up("10.0.0.1/24")
        other.network.eth0.up("10.0.0.2/24")
        assert ping(box, "10.0.0.2") != [None]
    assert ping(box, "10.0.0.2") == [None]
    assert not box.events.step
