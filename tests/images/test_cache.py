"""What the cache holds, and what of it goes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kobox.errors import KoboxError
from kobox.images import cache
from kobox.images.cache import cache_parts, kinds, prunable, prune
from kobox.images.store import Store

KOBOX = str(Path(sys.executable).with_name("kobox"))
DAY = 86_400


def put(store: Store, path: str, size: int, days: int) -> Path:
    file = store.root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"x" * size)
    when = time.time() - days * DAY
    os.utime(file, (when, when))
    return file


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "kobox")
    put(store, "kernels/6.1/vmlinuz", 8192, 100)
    put(store, "kernels/6.1/snapshots/old/ram", 16384, 90)
    put(store, "kernels/6.1/snapshots/new/ram", 16384, 1)
    put(store, "saved/lesson/ram", 4096, 400)
    put(store, "builds/one/x.o", 4096, 31)
    put(store, "builds/two/x.o", 4096, 29)
    put(store, "toolchains/bookworm/gcc", 4096, 400)
    put(store, "strange/thing", 4096, 400)
    return store


def test_every_part_has_its_kind_its_size_and_its_age(store: Store) -> None:
    parts = {(part.kind, part.name): part for part in cache_parts(store)}
    assert set(parts) == {
        *(("kernels", "6.1"), ("snapshots", "6.1/old"), ("snapshots", "6.1/new"), ("saved", "lesson")),
        *(("builds", "one"), ("builds", "two"), ("toolchains", "bookworm"), ("other", "strange")),
    }
    assert parts["kernels", "6.1"].size == 8192  # without its snapshots
    assert parts["snapshots", "6.1/old"].days() == 90
    assert {kind for kind, _ in parts} <= set(kinds())


def test_a_file_with_two_names_is_counted_once(store: Store) -> None:
    put(store, "packages/a/file", 1 << 20, 1)
    (store.root / "packages/merged").mkdir()
    os.link(store.root / "packages/a/file", store.root / "packages/merged/file")
    assert sum(part.size for part in cache_parts(store, ["packages"])) == 1 << 20


def test_only_what_was_not_used_and_is_made_again_goes(store: Store) -> None:
    would = prune(store, older_than=30 * DAY, dry_run=True)
    assert {part.name for part in would} == {"6.1/old", "one"}
    assert all(part.path.exists() for part in would)
    assert {part.name for part in prune(store, older_than=30 * DAY)} == {"6.1/old", "one"}
    assert not any(part.path.exists() for part in would)
    assert prune(store, older_than=30 * DAY) == []
    assert {part.name for part in prune(store, older_than=0)} == {"6.1/new", "two"}
    left = {part.name for part in cache_parts(store)}
    assert left == {"6.1", "lesson", "bookworm", "strange"}


@pytest.mark.parametrize("kind", ["kernels", "saved", "toolchains", "other", "nonsense"])
def test_what_is_not_made_again_is_refused(store: Store, kind: str) -> None:
    assert kind not in prunable()
    with pytest.raises(KoboxError):
        prune(store, older_than=0, wanted=[kind])


def test_the_command(store: Store) -> None:
    def kobox(*words: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "XDG_CACHE_HOME": str(store.root.parent)}
        return subprocess.run([KOBOX, "cache", *words], capture_output=True, text=True, check=False, env=environment)

    listed = json.loads(kobox("--json").stdout)
    assert {row["kind"] for row in listed} == {"kernels", "snapshots", "saved", "builds", "toolchains", "other"}
    assert "snapshots       2" in kobox().stdout
    assert "6.1/old" in kobox("-v").stdout
    assert "would be freed" in kobox("prune", "-n").stdout
    assert (store.root / "builds/one").exists()
    removed = json.loads(kobox("prune", "--older-than", "4w", "--kind", "builds", "--json").stdout)
    assert sorted(row["name"] for row in removed) == ["one", "two"]
    assert kobox("prune", "--older-than", "soon").returncode == 2
    assert kobox("prune", "--kind", "kernels").returncode == 2
    assert [line for line in kobox().stdout.splitlines() if len(line) > 80 and str(store.root) not in line] == []


def test_an_empty_cache(tmp_path: Path) -> None:
    assert list(cache_parts(Store(tmp_path / "none"))) == []
    assert prune(Store(tmp_path / "none"), older_than=0) == []


def test_each_directory_that_kobox_makes_in_the_cache_has_a_kind(tmp_path: Path) -> None:
    package = Path(cache.__file__).parents[1]
    named = {
        found
        for file in package.rglob("*.py")
        for found in re.findall(r'\bstore\.root / "([a-z-]+)"', file.read_text())
        + (re.findall(r'\bself\.root / "([a-z-]+)"', file.read_text()) if file.name == "store.py" else [])
    } - {"default", "lock"}  # files
    assert {"kernels", "packages", "programs", "graphviz"} <= named
    store = Store(tmp_path / "kobox")
    for name in named:
        put(store, f"{name}/part/file", 1, 1)
    assert not [part.name for part in cache_parts(store, ["other"])]
