"""The cache: what is in it, and that nothing half done ever is."""

from __future__ import annotations

import fcntl
import json
import os
import pickle
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kobox.errors import FetchError, KernelImageError, KernelNotFoundError
from kobox.images import identify
from kobox.images.kernel_image import KernelImage, natural
from kobox.images.store import Store
from tests.images.test_identify import bzimage


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def kernel_file(room: Path, release: str) -> Path:
    room.mkdir(parents=True, exist_ok=True)
    path = room / f"vmlinuz-{release}"
    path.write_bytes(bzimage(release.encode() + b" (me@here) #1"))
    return path


def add(store: Store, tmp_path: Path, release: str) -> KernelImage:
    return store.add(str(kernel_file(tmp_path / "boot", release)))


def left_over(root: Path) -> list[str]:
    """What lies under staging/, which is nothing when nothing is going on."""
    return [path.name for path in root.glob("staging/*")]


def test_the_default_place_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert Store().root == tmp_path / "kobox"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/ann")
    assert Store().root == Path("/home/ann/.cache/kobox")


def test_an_added_file_is_found_by_name_prefix_and_as_default(store: Store, tmp_path: Path) -> None:
    kernel = add(store, tmp_path, "9.8.7-test")
    assert (kernel.name, kernel.release) == ("9.8.7-test", "9.8.7-test")
    assert kernel.directory == store.root / "kernels/9.8.7-test"
    assert kernel.vmlinuz.read_bytes() == (tmp_path / "boot/vmlinuz-9.8.7-test").read_bytes()
    assert store.list() == [kernel] == [store.get("9.8.7-test")] == [store.get("9.8")] == [store.get()]
    assert pickle.loads(pickle.dumps(kernel)) == kernel


@pytest.mark.parametrize(
    ("begin", "meant"),
    [
        ("6.1", "6.1.0-5-cloud"),
        ("6", ""),
        ("6.", ""),
        ("6.12", "6.12.9-cloud"),
        ("6.1.", "6.1.0-5-cloud"),
        ("7", ""),
        ("7.1", "7.10.1-a"),
        ("7.2", "7.2"),
        ("7.2-r", "7.2-rc11"),
        ("7.2-rc1", "7.2-rc11"),
    ],
)
def test_a_beginning_ends_where_a_number_does(begin: str, meant: str, store: Store, tmp_path: Path) -> None:
    for release in ("6.1.0-5-cloud", "6.12.9-cloud", "7.10.1-a", "7.2", "7.2-rc11"):
        add(store, tmp_path, release)
    if meant:
        assert store.get(begin).name == meant
    else:
        with pytest.raises(KernelNotFoundError, match="ambiguous"):
            store.get(begin)


def test_a_beginning_means_a_kernel_for_this_machine_first(store: Store, tmp_path: Path) -> None:
    own = add(store, tmp_path, "6.12.118-cloud")
    foreign = "aarch64" if own.architecture == "x86_64" else "x86_64"
    kernel = add(store, tmp_path, "6.12.117-other")
    record = kernel.directory / "kernel.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"architecture": foreign}))
    assert store.get("6.12").name == "6.12.118-cloud"
    assert store.get("6.12.117").name == "6.12.117-other"


def test_names_that_lead_nowhere_say_what_there_is(store: Store, tmp_path: Path) -> None:
    with pytest.raises(KernelNotFoundError, match="kobox kernel add debian"):
        store.get()
    for release in ("9.1.0-a", "9.1.0-b"):
        add(store, tmp_path, release)
    with pytest.raises(KernelNotFoundError, match=r"ambiguous: matches 9.1.0-a, 9.1.0-b"):
        store.get("9.1")
    with pytest.raises(KernelNotFoundError, match=r"The cache holds: 9.1.0-a, 9.1.0-b"):
        store.get("7")
    with pytest.raises(KernelNotFoundError, match="no such file"):
        store.get("./absent")
    with pytest.raises(KernelNotFoundError):
        store.get("..")


def test_an_exact_name_wins_over_longer_ones(store: Store, tmp_path: Path) -> None:
    for release in ("9.1", "9.1.2"):
        add(store, tmp_path, release)
    assert store.get("9.1").name == "9.1"


def test_kernels_are_listed_in_natural_order(store: Store, tmp_path: Path) -> None:
    for release in ("6.12.1", "6.2.1", "6.1.0-9-amd64", "6.1.0-10-amd64"):
        add(store, tmp_path, release)
    assert [kernel.name for kernel in store.list()] == ["6.1.0-9-amd64", "6.1.0-10-amd64", "6.2.1", "6.12.1"]
    assert natural("a10") > natural("a9")


def test_a_path_gives_a_kernel_and_adds_nothing(store: Store, tmp_path: Path) -> None:
    path = kernel_file(tmp_path, "9.8.7")
    kernel = store.get(str(path))
    assert kernel == store.get(str(path))
    assert (kernel.release, kernel.vmlinuz, kernel.modules) == ("9.8.7", path, None)
    assert store.list() == []
    assert not kernel.directory.exists()


def test_the_first_kernel_is_the_default_until_another_is_chosen(store: Store, tmp_path: Path) -> None:
    first, second = add(store, tmp_path, "9.1"), add(store, tmp_path, "9.2")
    assert store.default() == first
    assert store.set_default("9.2") == second == store.default()
    store.remove("9.2")
    assert store.default() == first
    with pytest.raises(KernelNotFoundError, match="not in the cache"):
        store.set_default(str(kernel_file(tmp_path, "9.3")))


def test_modules_and_headers_are_used_where_they_lie(store: Store, tmp_path: Path) -> None:
    (tmp_path / "modules/kernel").mkdir(parents=True)
    (tmp_path / "build").mkdir()
    path = kernel_file(tmp_path, "9.1")
    with pytest.raises(KernelImageError, match="no Makefile in it"):
        store.add(str(path), modules=tmp_path / "modules", headers=tmp_path / "build")
    with pytest.raises(KernelImageError, match="not the modules directory"):
        store.add(str(path), modules=tmp_path / "build")
    (tmp_path / "build/Makefile").touch()
    kernel = store.add(str(path), modules=tmp_path / "modules", headers=tmp_path / "build")
    assert (kernel.modules, kernel.headers) == (tmp_path / "modules", tmp_path / "build")
    assert store.get("9.1") == kernel


def test_adding_again_replaces_the_kernel_and_its_snapshots(store: Store, tmp_path: Path) -> None:
    old = add(store, tmp_path, "9.1")
    (old.directory / "snapshots").mkdir()
    path = tmp_path / "boot/vmlinuz-9.1"
    path.write_bytes(path.read_bytes() + b"more")
    new = store.add(str(path))
    assert new.digest != old.digest
    assert new.directory == old.directory
    assert not (new.directory / "snapshots").exists()
    assert left_over(store.root) == []


def test_a_removed_kernel_is_gone_with_what_it_held(store: Store, tmp_path: Path) -> None:
    kernel = add(store, tmp_path, "9.1")
    assert store.remove("9.1") == kernel
    assert not kernel.directory.exists()
    with pytest.raises(KernelNotFoundError):
        store.remove("9.1")


def test_a_file_that_is_no_kernel_leaves_nothing(store: Store, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    with pytest.raises(KernelImageError, match="not a Linux kernel image"):
        store.add(str(tmp_path / "text"))
    with pytest.raises(KernelNotFoundError, match="none of the sources kobox knows"):
        store.add("hurd")
    assert store.list() == []
    assert left_over(store.root) == []


def test_a_damaged_record_is_named(store: Store, tmp_path: Path) -> None:
    kernel = add(store, tmp_path, "9.1")
    (kernel.directory / "kernel.json").write_text('{"format": 1')
    with pytest.raises(KernelImageError, match=r"kernel.json: damaged[\s\S]*Remove"):
        store.get("9.1")


def test_a_full_disk_leaves_no_half_kernel(store: Store, tmp_path: Path) -> None:
    """The file size limit stands in for the full disk: writing fails half-way with an error of the system's."""
    path = kernel_file(tmp_path, "9.1")
    path.write_bytes(path.read_bytes() + bytes(4 << 20))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        with pytest.raises(FetchError, match=r"File too large[\s\S]*Nothing half done"):
            store.add(str(path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert store.list() == []
    assert left_over(store.root) == []
    assert store.add(str(path)).name == "9.1"


def test_a_directory_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FetchError, match=r"file[\s\S]*XDG_CACHE_HOME"):
        Store(tmp_path / "file").add(str(kernel_file(tmp_path, "9.1")))


def test_what_a_killed_run_left_is_swept_up(store: Store, tmp_path: Path) -> None:
    """A run is killed between the copy and the rename; the next sees no kernel, and cleans up."""
    path = kernel_file(tmp_path, "9.1")
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from kobox.images import identify, store\n"
        "identify.digest = lambda path: print('now', flush=True) or time.sleep(60)\n"
        "store.Store(Path(sys.argv[1])).add(sys.argv[2])\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(store.root), str(path)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"now\n"
    child.kill()
    child.wait()
    child.stdout.close()
    assert store.list() == []
    assert left_over(store.root) != []
    add(store, tmp_path, "9.2")
    assert left_over(store.root) == []
    assert [kernel.name for kernel in store.list()] == ["9.2"]


def test_a_second_run_waits_for_the_first(store: Store, tmp_path: Path) -> None:
    path = kernel_file(tmp_path, "9.1")
    store.root.mkdir(parents=True)
    stages: list[str] = []

    def progress(stage: str, done: int, total: int) -> None:
        stages.append(stage)
        if stage.startswith("waiting"):
            os.close(handle)  # the other run ends

    handle = os.open(store.root / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(handle, fcntl.LOCK_EX)
    assert store.add(str(path), progress=progress).name == "9.1"
    assert stages[0].startswith("waiting for another kobox")


def test_many_at_once_add_one_whole_kernel(store: Store, tmp_path: Path) -> None:
    path = kernel_file(tmp_path, "9.1")
    code = "import sys; from pathlib import Path; from kobox.images.store import Store; "
    code += "Store(Path(sys.argv[1])).add(sys.argv[2])"
    runs = [subprocess.Popen([sys.executable, "-c", code, str(store.root), str(path)]) for _ in range(6)]
    assert [run.wait() for run in runs] == [0] * 6
    assert [kernel.name for kernel in store.list()] == ["9.1"]
    assert left_over(store.root) == []


def test_an_interrupt_leaves_nothing(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(path: Path) -> str:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
        return ""

    monkeypatch.setattr(identify, "digest", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.add(str(kernel_file(tmp_path, "9.1")))
    assert store.list() == []
    assert left_over(store.root) == []


def test_ensure_adds_nothing_when_there_is_a_kernel(store: Store, tmp_path: Path) -> None:
    kernel = add(store, tmp_path, "9.1")
    assert store.ensure() == kernel
    with pytest.raises(KernelNotFoundError):
        store.ensure("8")
