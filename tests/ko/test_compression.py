"""Compressed module files: recognised by their content, unpacked to a bounded size."""

from __future__ import annotations

import gzip
import importlib.util
import lzma
import random
import sys
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kobox.errors import ModuleFormatError
from kobox.ko import compression
from kobox.ko.modulefile import ModuleFile
from tests.ko.asking import everything


@pytest.mark.parametrize("kind", ["gzip", "xz", "zstd", "lz4", "lz4-legacy"])
def test_compression_is_told_by_the_content(kind: str, btrfs: ModuleFile, tmp_path: Path) -> None:
    path = tmp_path / "m.ko"
    path.write_bytes(_packed(kind, btrfs.content))
    module = ModuleFile(path)
    assert module.compression == kind.removesuffix("-legacy")
    assert module.content == btrfs.content
    assert module.imports == btrfs.imports


@pytest.mark.parametrize("kind", ["gzip", "xz", "zstd", "lz4", "lz4-legacy"])
@pytest.mark.parametrize("keep", [7, 40, 1000, -1])
def test_compressed_data_cut_short_is_told(kind: str, keep: int, btrfs: ModuleFile) -> None:
    with pytest.raises(ModuleFormatError, match=r"damaged|ELF|ends|unpacks|reaches|offset"):
        everything(ModuleFile(_packed(kind, btrfs.content)[:keep]))


@pytest.mark.parametrize("kind", ["gzip", "xz", "zstd", "lz4"])
def test_a_bomb_does_not_take_the_memory_it_would_like(kind: str) -> None:
    bomb = _packed(kind, bytes(64 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(ModuleFormatError, match="more than"):
            compression.decompress(bomb, limit=1 << 20)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def _packed(kind: str, content: bytes) -> bytes:
    if kind == "gzip":
        return gzip.compress(content, 1)
    if kind == "xz":
        return lzma.compress(content, check=lzma.CHECK_CRC32, preset=0)
    if kind == "zstd":
        import zstandard

        return zstandard.ZstdCompressor(1, write_content_size=False).compress(content)
    if kind == "lz4":
        import lz4.frame

        return lz4.frame.compress(content)
    import lz4.block

    blocks = [
        lz4.block.compress(content[at : at + (8 << 20)], store_size=False) for at in range(0, len(content), 8 << 20)
    ]
    return b"\x02\x21\x4c\x18" + b"".join(len(block).to_bytes(4, "little") + block for block in blocks)


@settings(max_examples=200, deadline=None)
@given(
    kind=st.sampled_from([b"\x1f\x8b", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18", b"\x02\x21\x4c\x18"]),
    rest=st.binary(),
)
def test_any_bytes_behind_a_magic_give_only_the_one_error(kind: bytes, rest: bytes) -> None:
    with pytest.raises(ModuleFormatError):
        ModuleFile(kind + rest)


def test_the_newer_liblzma_and_the_library_s_own_unpack_alike(
    btrfs: ModuleFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = lzma.compress(btrfs.content, preset=1)
    assert len(packed) > 256 << 10  # enough for the newer one
    bad = packed[:1000] + bytes(50) + packed[1050:]
    for module in ("lzma_mt", "_lzma"):
        with monkeypatch.context() as patch:
            if module == "_lzma":
                patch.setitem(sys.modules, "lzma_mt", None)
            kind = type(compression.xz_stream(len(packed))).__module__.partition(".")[0]
            # Where lzma_mt has no wheel it is not installed, and both turns are the library's own.
            assert kind == (module if importlib.util.find_spec(module) else "_lzma")
            assert compression.decompress(packed) == btrfs.content
            for damaged, what in ((packed[:-9], "ends before"), (bad, "damaged xz")):
                with pytest.raises(ModuleFormatError, match=what):
                    compression.decompress(damaged)
            with pytest.raises(ModuleFormatError, match="more than 1000"):
                compression.decompress(packed, limit=1000)


@pytest.mark.parametrize("kind", ["gzip", "xz", "zstd", "lz4"])
def test_data_that_unpack_to_far_more_than_a_module_does_are_refused(kind: str) -> None:
    """64 times their size is more than any module needs; 64 MiB are always allowed."""
    bomb = _packed(kind, bytes(200 << 20))
    assert len(bomb) < 2 << 20
    tracemalloc.start()
    try:
        with pytest.raises(ModuleFormatError, match="unpacks to more than"):
            ModuleFile(bomb)
        assert tracemalloc.get_traced_memory()[1] < 160 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["gzip", "xz", "zstd", "lz4", "lz4-legacy"])
@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (4 << 20) + 1])
def test_data_of_any_size_come_out_as_they_went_in(kind: str, size: int) -> None:
    """Input and output are handled in pieces, so sizes around a piece's."""
    content = (random.Random(size).randbytes(1 << 16) * (size // (1 << 16) + 1))[:size]
    if content or kind not in ("lz4", "lz4-legacy"):
        assert compression.decompress(_packed(kind, content)) == content
