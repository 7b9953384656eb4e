"""The native .xz decoder beside liblzma: the same content, and never content where liblzma finds damage."""

from __future__ import annotations

import contextlib
import lzma
import random
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kobox.errors import ModuleFormatError
from kobox.ko import compression, native
from kobox.tree.native import crc32
from tests.kmod_fixtures import CLOUD_XZ, packaged_tree

LIMIT = 1 << 24


def unpack(data: bytes) -> bytes | None:
    return native.unpack_xz(data, LIMIT)


def test_modules_of_a_distribution_are_unpacked_as_by_liblzma() -> None:
    for path in sorted(packaged_tree(*CLOUD_XZ).rglob("*.ko.xz"))[::5]:
        packed = path.read_bytes()
        assert unpack(packed) == lzma.decompress(packed), path


@pytest.mark.parametrize("properties", [(0, 0, 0), (3, 0, 2), (4, 0, 0), (0, 4, 4), (2, 2, 4), (1, 3, 0)])
@pytest.mark.parametrize("check", [lzma.CHECK_NONE, lzma.CHECK_CRC32, lzma.CHECK_CRC64])
def test_any_properties_and_check(properties: tuple[int, int, int], check: int, cloud_package: Path) -> None:
    content = next(cloud_package.rglob("dummy.ko")).read_bytes() * 3 + random.Random(1).randbytes(200_000)
    lc, lp, pb = properties
    chain = [{"id": lzma.FILTER_LZMA2, "preset": 4, "lc": lc, "lp": lp, "pb": pb}]
    packed = lzma.compress(content, check=check, filters=chain)
    assert unpack(packed) == content


@settings(deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=60), st.integers(1, 400)), max_size=30), st.integers(0, 6))
def test_what_liblzma_packs_is_unpacked(parts: list[tuple[bytes, int]], preset: int) -> None:
    content = b"".join(part * times for part, times in parts)
    packed = lzma.compress(content, preset=preset, check=lzma.CHECK_CRC32)
    assert unpack(packed) == (content or None)


@pytest.mark.parametrize("check", [lzma.CHECK_SHA256])
def test_what_is_unusual_is_left_to_liblzma(check: int) -> None:
    content = b"module" * 20_000 + random.Random(2).randbytes(40_000)
    machine_code = [{"id": lzma.FILTER_X86}, {"id": lzma.FILTER_LZMA2}]
    for packed in (lzma.compress(content, check=check), lzma.compress(content, filters=machine_code)):
        assert unpack(packed) is None
        assert compression.decompress(packed) == content


def test_a_stream_of_several_blocks(tmp_path: Path) -> None:
    """As `xz --threads` makes them: here two streams of one block each, put together by hand."""
    parts = [b"first" * 1000, bytes(5000)]
    streams = [lzma.compress(part, check=lzma.CHECK_CRC32) for part in parts]
    blocks, records = [], []
    for part, stream in zip(parts, streams, strict=True):
        index_size = 4 * (int.from_bytes(stream[-8:-4], "little") + 1)
        block = stream[12 : -12 - index_size]
        header = 4 * (block[0] + 1)
        unpadded = next(n for n in range(len(block), 0, -1) if _ends_at(block, header, n))
        blocks.append(block)
        records.append(_number(unpadded) + _number(len(part)))
    index = b"\0" + _number(2) + b"".join(records)
    index += bytes(-len(index) % 4)
    index += zlib.crc32(index).to_bytes(4, "little")
    footer = (len(index) // 4 - 1).to_bytes(4, "little") + streams[0][6:8]
    whole = streams[0][:12] + b"".join(blocks) + index + zlib.crc32(footer).to_bytes(4, "little") + footer + b"YZ"
    assert lzma.decompress(whole) == b"".join(parts)
    assert unpack(whole) == b"".join(parts)


def _ends_at(block: bytes, header: int, size: int) -> bool:
    """Whether the block's data and check, without padding, are `size` bytes: the data ends with a zero byte."""
    data = block[header : size - 4]
    with contextlib.suppress(lzma.LZMAError):
        decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2}])
        decoder.decompress(data)
        padded = size - 4 + -(size - 4) % 4 + 4 == len(block)
        return decoder.eof and not decoder.unused_data and padded
    return False


def _number(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes((*out, value))


@pytest.fixture(scope="module")
def packed_module() -> bytes:
    return min(packaged_tree(*CLOUD_XZ).rglob("*.ko.xz"), key=lambda path: abs(path.stat().st_size - 9000)).read_bytes()


def test_no_truncation_is_unpacked(packed_module: bytes) -> None:
    for size in range(0, len(packed_module), 7):
        assert unpack(packed_module[:size]) is None


def test_a_flipped_bit_never_gives_other_content(packed_module: bytes) -> None:
    content = lzma.decompress(packed_module)
    chance = random.Random(5)
    for _ in range(4000):
        damaged = bytearray(packed_module)
        for _ in range(chance.randint(1, 3)):
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        assert unpack(bytes(damaged)) in (None, content)


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=400), st.integers(0, 12))
def test_any_bytes_in_place_of_the_data_are_refused(rest: bytes, kept: int) -> None:
    start = lzma.compress(b"kobox" * 100, check=lzma.CHECK_CRC32)
    assert unpack(start[: 24 + kept] + rest + start[-28:]) is None


def test_a_claim_of_any_size_costs_nothing(packed_module: bytes) -> None:
    """The index says how large the content is; when that is a lie, liblzma tells."""
    index_size = 4 * (int.from_bytes(packed_module[-8:-4], "little") + 1)
    index = b"\0" + _number(1) + _number(100) + _number((1 << 24) - 1)
    index += bytes(-len(index) % 4)
    index += zlib.crc32(index).to_bytes(4, "little")
    footer = (len(index) // 4 - 1).to_bytes(4, "little") + packed_module[6:8]
    lying = packed_module[: -12 - index_size] + index + zlib.crc32(footer).to_bytes(4, "little") + footer + b"YZ"
    assert unpack(lying) is None
    with pytest.raises(ModuleFormatError):
        compression.decompress(lying)


def test_more_than_the_limit_is_refused() -> None:
    packed = lzma.compress(random.Random(3).randbytes(100_000))
    with pytest.raises(ModuleFormatError, match="more than 1000"):
        compression.decompress(packed, limit=1000)


@given(st.binary(max_size=700))
def test_the_sum_is_zlib_s(data: bytes) -> None:
    assert crc32(data) == zlib.crc32(data)
