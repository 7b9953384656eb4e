"""Records of lives: written, read again, refused when they are damaged, and repeated."""

from __future__ import annotations

import contextlib
import json
import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kobox.apps.life_record import (
    MAGIC,
    LifeRecord,
    LifeRecordError,
    RecordedBox,
    RecordedKernel,
    RecordedModule,
    RecordedOutcome,
    can_be_recorded,
)
from kobox.apps.recorded_life import Recording, difference, kernel_of, life_of, module_files, recorded_kernel
from kobox.box.box import Box
from kobox.images.store import Store
from tests.building import BuiltTestModules

RECORD = LifeRecord(
    "0.1.0",
    "life",
    RecordedKernel("6.1", "6.1.0-1-amd64", "ab" * 32, "debian/bookworm 1", "x86_64"),
    RecordedBox(64 << 20, 2, "quiet", "default", True),
    (RecordedModule("one", b"\x7fELF" * 100, "a=1"), RecordedModule("two-b", bytes(5000))),
    ("echo 'ä\n' > /dev/x", ""),
    ("e1000", "nvme=64M", "lm75=-3.5", "e1000=52:54:00:12:34:56"),
    ((("open", 0, ("/dev/x", 2)), ("write", 0, (b"\x00\xff", -1)), ("call", 1, ("x", (1, (b"y",)), None, 1.5))),),
    False,
    True,
    RecordedOutcome(1, 2, "[ 1.0] said\n", "why"),
    "a finding",
)


def test_what_is_written_is_read() -> None:
    assert LifeRecord.unpack(RECORD.pack()) == RECORD
    plain = replace(RECORD, outcome=None, programs=(), commands=(), plugs=())
    assert LifeRecord.unpack(plain.pack()) == plain
    assert len(RECORD.pack()) < 2000


def changed(change: Callable[[dict[str, object]], object]) -> bytes:
    """The record with another header."""
    data = RECORD.pack()
    at = len(MAGIC) + 8
    _, size = struct.unpack_from("<II", data, len(MAGIC))
    header = json.loads(zlib.decompress(data[at : at + size]))
    change(header)
    packed = zlib.compress(json.dumps(header).encode())
    return MAGIC + struct.pack("<II", 1, len(packed)) + packed + data[at + size :]


def module(name: str, value: object) -> Callable[[dict[str, object]], object]:
    return lambda header: header["modules"][0].update({name: value})  # type: ignore[index]


def set_to(name: str, value: object) -> Callable[[dict[str, object]], object]:
    return lambda header: header.update({name: value})


def box(name: str, value: object) -> Callable[[dict[str, object]], object]:
    return lambda header: header["box"].update({name: value})  # type: ignore[attr-defined]


BOMB = zlib.compress(bytes(64 << 20))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x04\x95pickle",
        MAGIC,
        MAGIC + struct.pack("<II", 0, 0),
        MAGIC + struct.pack("<II", 1, 1 << 31),
        MAGIC + struct.pack("<II", 1, 4) + b"zlib",
        MAGIC + struct.pack("<II", 1, len(BOMB)) + BOMB,
        RECORD.pack() + b"x",
        RECORD.pack()[:-1],
        changed(module("name", "../../etc/cron.d/x")),
        changed(module("name", "")),
        changed(module("size", 10)),
        changed(module("size", -1)),
        changed(module("packed", 1 << 60)),
        changed(module("sha256", "00")),
        changed(module("parameters", ["a"])),
        changed(set_to("modules", [])),
        changed(set_to("modules", {"a": 1})),
        changed(set_to("mode", "shell")),
        changed(set_to("plugs", ["evil.py"])),
        changed(set_to("plugs", ["nvme=/etc/passwd"])),
        changed(set_to("plugs", ["nvme=disk.img"])),
        changed(set_to("plugs", ["./x"])),
        changed(set_to("commands", "echo")),
        changed(set_to("commands", [1])),
        changed(set_to("commands", ["a\0b"])),
        changed(set_to("unload", 1)),
        changed(set_to("outcome", {"blocks": "many"})),
        changed(set_to("programs", [[["open", 0, [{"b": "xx"}]]]])),
        changed(set_to("programs", [[["open", 0, [{"p": 1}]]]])),
        changed(set_to("programs", [[["open", -1, []]]])),
        changed(box("memory", 1 << 50)),
        changed(box("memory", True)),
        changed(box("cpus", 0)),
        changed(box("profile", "none")),
        changed(lambda header: header.pop("kernel")),
    ],
    ids=range(36),
)
def test_what_is_no_record_is_refused(data: bytes) -> None:
    with pytest.raises(LifeRecordError, match=r"x\.kbx: no record of a life, or a damaged one"):
        LifeRecord.unpack(data, "x.kbx")


def test_a_newer_format_is_told() -> None:
    data = bytearray(RECORD.pack())
    data[len(MAGIC)] = 9
    with pytest.raises(LifeRecordError, match="its format is 9; this kobox reads up to 1"):
        LifeRecord.unpack(bytes(data))


def test_bytes_that_are_changed_at_random_raise_nothing_else() -> None:
    rng, whole = random.Random(3), RECORD.pack()
    for _ in range(3000):
        data = bytearray(whole)
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        with contextlib.suppress(LifeRecordError):
            LifeRecord.unpack(bytes(data[: rng.randrange(len(data)) if rng.random() < 0.1 else len(data)]))


@pytest.mark.parametrize(
    ("plug", "good"),
    [("e1000", True), ("nvme=64M", True), ("nvme=disk.img", False), ("my.py", False), ("my.py:Card", False)],
)
def test_which_devices_can_be_recorded(plug: str, good: bool) -> None:
    assert can_be_recorded(plug) is good


# -- repeated ----------------------------------------------------------------------------------------------------------


def record_of(box: Box, path: Path, **more: object) -> LifeRecord:
    module = RecordedModule(path.stem, path.read_bytes())
    return LifeRecord("0.1.0", "life", recorded_kernel(box.image), RecordedBox(), (module,), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["life", "run"])
def test_a_life_that_is_repeated_is_the_same_bit_by_bit(box: Box, modules: BuiltTestModules, mode: str) -> None:
    record = replace(record_of(box, modules("chardev")), mode=mode)
    outcomes = []
    for _ in range(2):
        box.reset()
        recording = Recording(box)
        life_of(record, box, module_files(record))()
        outcomes.append(recording.outcome())
    assert outcomes[0] == outcomes[1]
    assert outcomes[0].blocks > 1000
    assert difference(*outcomes) == ""
    box.reset()
    recording = Recording(box)
    life_of(replace(record, modules=(replace(record.modules[0], parameters="x=1"),)), box, module_files(record))()
    assert "log" in difference(outcomes[0], recording.outcome())


def test_a_life_with_steps_of_the_exercise(box: Box, modules: BuiltTestModules) -> None:
    steps = ((("open", 0, ("/dev/nowhere", 0)), ("call", 0, ("getpid",)), ("sleep", 0, (0.01,))),)
    record = record_of(box, modules("hello"), programs=steps)
    life_of(LifeRecord.unpack(record.pack()), box, module_files(record))()
    assert "hello" not in box.modules


def test_a_kernel_that_is_missing_is_named(kernel_store: Store) -> None:
    with pytest.raises(LifeRecordError, match=r"the kernel 6\.1 of this life .* is not in the cache") as raised:
        kernel_of(RECORD, kernel_store)
    assert "kobox kernel add debian/bookworm" in raised.value.hint
