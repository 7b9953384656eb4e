"""Which sources and kernels the words of a command line mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from kobox.errors import KernelNotFoundError, KoboxError
from kobox.images.store import KernelImage, Store
from kobox.matrix import kernels_matching, sources_named
from kobox.matrix.cell import CellStep, StepOutcome
from kobox.matrix.result_cache import ResultCache, source_digest, step_key


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A cache of five kernels, which are never booted."""
    for name in ("6.12.1-x", "6.2.0-x", "6.1.0-x", "6.1.0-x-arm64", "7.0-x"):
        place = tmp_path / "kernels" / name
        place.mkdir(parents=True)
        (place / "kernel.json").write_text(
            f'{{"format": 1, "name": "{name}", "release": "{name}", "vmlinuz": "v", "modules": null, "headers": null,'
            ' "origin": "test", "digest": "00", "architecture": "x86_64"}'
        )
    return Store(tmp_path)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["all"], ["6.1.0-x", "6.1.0-x-arm64", "6.2.0-x", "6.12.1-x", "7.0-x"]),
        (["6.*"], ["6.1.0-x", "6.1.0-x-arm64", "6.2.0-x", "6.12.1-x"]),
        (["7", "6.12", "6.12.1-x"], ["6.12.1-x", "7.0-x"]),
        (["*-arm64", "6.2"], ["6.1.0-x-arm64", "6.2.0-x"]),
    ],
)
def test_kernels_are_named_by_prefix_and_pattern_and_come_oldest_first(
    names: list[str], found: list[str], store: Store
) -> None:
    assert [kernel.name for kernel in kernels_matching(store, names)] == found


@pytest.mark.parametrize("names", [["5.*"], ["5.10"], ["6.1"]])
def test_a_name_that_means_no_kernel_or_several_is_an_error(names: list[str], store: Store) -> None:
    with pytest.raises(KernelNotFoundError):
        kernels_matching(store, names)


def test_a_directory_of_module_files_stands_for_them(tmp_path: Path) -> None:
    for name in ("b.ko", "a.ko.xz", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in sources_named([tmp_path, tmp_path / "b.ko"])] == ["a.ko.xz", "b.ko"]
    (tmp_path / "Kbuild").touch()
    assert sources_named([tmp_path]) == (tmp_path,)


@pytest.mark.parametrize("name", ["missing.c", "missing", "notes.txt"])
def test_what_is_no_source_is_refused_by_name(name: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(KoboxError, match=name):
        sources_named([tmp_path / name])


def test_the_digest_of_a_source_covers_its_headers_and_not_what_a_build_leaves(tmp_path: Path) -> None:
    source = tmp_path / "m.c"
    for name in ("m.c", "other.c", "m.h"):
        (tmp_path / name).write_text(name)
    one, all_of_it = source_digest(source), source_digest(tmp_path)
    for made in ("m.o", "m.ko", "m.mod.c", ".m.o.cmd", "modules.order", "Module.symvers"):
        (tmp_path / made).write_text("made")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text("x")
    assert (source_digest(source), source_digest(tmp_path)) == (one, all_of_it)
    (tmp_path / "other.c").write_text("changed")
    assert source_digest(source) == one
    assert source_digest(tmp_path) != all_of_it
    (tmp_path / "m.h").write_text("changed")
    assert source_digest(source) != one


def test_every_part_of_a_key_counts(debian_kernel: KernelImage, trixie_kernel: KernelImage) -> None:
    keys = [
        step_key("loads", debian_kernel, "c"),
        step_key("loads", trixie_kernel, "c"),
        step_key("clean", debian_kernel, "c"),
        step_key("loads", debian_kernel, "d"),
        step_key("loads", debian_kernel, "c", "n=1"),
        step_key("loads", debian_kernel, "c", "n=1", ""),
        step_key("loads", debian_kernel._replace(digest="other"), "c"),
        step_key("loads", debian_kernel._replace(headers=None), "c"),
    ]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"outcome": "great"}', b"\xff", b"[" * 100_000])
def test_a_damaged_result_is_run_again(content: bytes, tmp_path: Path) -> None:
    cache = ResultCache(tmp_path)
    cache.put(CellStep(StepOutcome.OK, key="ab12"))
    assert cache.get("ab12") == CellStep(StepOutcome.OK, key="ab12", cached=True)
    (path,) = tmp_path.glob("results/*/*.json")
    path.write_bytes(content)
    assert cache.get("ab12") is None
