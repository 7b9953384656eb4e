"""Debian's archive, through the real apt: what is fetched, and what happens when that fails."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kobox.errors import FetchError, KernelNotFoundError
from kobox.images.debian.archive import Archive, dependencies, parse_packages
from kobox.images.debian.kernels import find_kernel
from kobox.images.debian.suite import machine_suite
from kobox.images.store import KernelImage, Store

KOBOX = str(Path(sys.executable).with_name("kobox"))


@pytest.fixture(scope="session")
def bookworm(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    archive = Archive.of_suite("bookworm", tmp_path_factory.mktemp("apt"))
    archive.update(lambda stage, done, total: None)
    return archive


def test_the_default_kernel_is_whole(debian_kernel: KernelImage) -> None:
    assert debian_kernel.release.endswith("-cloud-amd64")
    assert debian_kernel.modules is not None
    assert debian_kernel.headers is not None
    assert debian_kernel.modules.name == debian_kernel.release
    assert (debian_kernel.modules / "kernel/fs/btrfs/btrfs.ko").is_file()
    assert (debian_kernel.headers / "Module.symvers").is_file()
    assert not (debian_kernel.directory / "usr/share").exists()


def test_no_file_of_the_headers_points_outside_the_cache(debian_kernel: KernelImage) -> None:
    for path in debian_kernel.directory.rglob("*"):
        if path.is_symlink():
            assert path.resolve().is_relative_to(debian_kernel.directory.parents[1]), path
    assert debian_kernel.headers is not None
    assert "/usr/src" not in (debian_kernel.headers / "Makefile").read_text()


def test_split_packages_are_found_by_their_dependencies(sid_kernel: KernelImage) -> None:
    assert sid_kernel.modules is not None
    assert sid_kernel.vmlinuz.is_file()
    assert (sid_kernel.modules / "modules.builtin").is_file()
    assert any(sid_kernel.modules.rglob("*.ko*"))


def test_a_flavour_leads_to_its_newest_release(bookworm: Archive) -> None:
    release = find_kernel(bookworm).release
    assert find_kernel(bookworm, "cloud-amd64").release == release
    assert find_kernel(bookworm, release).release == release
    for flavour in ("amd64", "rt-amd64"):
        packages = find_kernel(bookworm, flavour)
        assert packages.release.endswith(flavour)
        names = {package.name for package in packages.packages}
        assert {f"linux-image-{packages.release}", f"linux-headers-{packages.release}"} <= names
        assert any(name.endswith(("-common", "-common-rt")) for name in names)
        assert any(name.startswith("linux-kbuild-") for name in names)


def test_a_release_that_is_not_there_is_answered_with_those_that_are(bookworm: Archive) -> None:
    with pytest.raises(KernelNotFoundError, match=r"has no kernel 5.4.0-1-amd64[\s\S]*It has .*-amd64"):
        find_kernel(bookworm, "5.4.0-1-amd64")


def test_what_is_in_the_cache_is_not_fetched_again(debian_kernel: KernelImage, kernel_store: Store) -> None:
    stages: list[str] = []
    again = kernel_store.add("debian/bookworm", progress=lambda stage, done, total: stages.append(stage))
    if again.origin == debian_kernel.origin:
        assert stages[-1] == "already there"
        assert not any("downloading" in stage for stage in stages)


@pytest.mark.parametrize("suite", ["Trixie", "../x", "a b", "-o"])
def test_a_suite_that_cannot_be_one_is_refused(tmp_path: Path, suite: str) -> None:
    with pytest.raises(KernelNotFoundError, match="cannot be a suite"):
        Archive.of_suite(suite, tmp_path)


def test_no_network_is_a_clear_error_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """apt's own proxy setting, pointed at a port where nobody listens: the machine's configuration is honoured."""
    (tmp_path / "apt.conf").write_text('Acquire::http::Proxy "http://127.0.0.1:9";\nAcquire::Retries "0";\n')
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    store = Store(tmp_path / "cache")
    with pytest.raises(FetchError, match=r"could not be fetched:[\s\S]*127.0.0.1[\s\S]*Check the network"):
        store.add("debian/bookworm")
    assert store.list() == []


def test_an_unknown_suite_is_named(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"does not have a Release file[\s\S]*Is there a suite nonesuch"):
        Store(tmp_path / "cache").add("debian/nonesuch")
    assert not (tmp_path / "cache/apt/nonesuch").exists()


def test_a_missing_apt_is_answered_with_other_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FetchError, match=r"apt-get is not installed[\s\S]*kobox kernel add host"):
        Store(tmp_path / "cache").add("debian")


def test_a_damaged_download_is_dropped_and_fetched_again(bookworm: Archive, tmp_path: Path) -> None:
    deb = tmp_path / "broken_1_all.deb"
    deb.write_bytes(b"!<arch>\nnot really")
    with pytest.raises(FetchError, match=r"broken_1_all.deb could not be unpacked: dpkg-deb"):
        bookworm.unpack([deb], tmp_path / "out", lambda stage, done, total: None)
    assert not deb.exists()


def test_a_file_size_limit_is_reported_and_nothing_stays(tmp_path: Path) -> None:
    """As on a full disk, apt cannot write its lists."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        [KOBOX, "kernel", "add", "debian/bookworm"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)),
    )
    assert done.returncode == 1
    assert "could not be fetched" in done.stderr
    assert "Traceback" not in done.stderr
    assert Store(tmp_path / "kobox").list() == []


def test_killed_and_interrupted_runs_leave_no_half_kernel_and_two_at_once_agree(tmp_path: Path) -> None:
    """One after the other in one cache: a SIGKILL while unpacking, a Ctrl-C, then two at once that both succeed."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    command = [KOBOX, "kernel", "add", "debian/bookworm"]
    store = Store(tmp_path / "kobox")
    for deadly in (signal.SIGKILL, signal.SIGINT):
        before = set(store.root.glob("staging/new-*/boot"))
        child = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 60
        while not set(store.root.glob("staging/new-*/boot")) - before and time.monotonic() < deadline:
            time.sleep(0.005)
        child.send_signal(deadly)
        _, said = child.communicate()
        assert child.returncode in (-9, 130), said
        assert "Traceback" not in said
        assert store.list() == []
    runs = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) for _ in range(2)]
    answers = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    assert answers[0] == answers[1]
    (kernel,) = store.list()
    assert kernel.headers is not None
    assert list(store.root.glob("staging/*")) == []
    assert not (store.root / "apt/bookworm/debs").exists()


def test_the_machine_s_suite_is_read_off_os_release(tmp_path: Path) -> None:
    path = tmp_path / "os-release"
    path.write_text('ID=debian\nVERSION_ID="13"\nVERSION_CODENAME=trixie\n')
    assert machine_suite(path) == "trixie"
    path.write_text("ID=ubuntu\nVERSION_ID=24.04\nVERSION_CODENAME=noble\n")
    assert machine_suite(path) == "bookworm"
    path.write_text("ID=debian\nVERSION_CODENAME=forky\n")
    assert machine_suite(path) == "sid"
    assert machine_suite(tmp_path / "absent") == "bookworm"


def test_package_paragraphs_are_read() -> None:
    text = (
        "Package: linux-image-1\nVersion: 2:3.4-5\nArchitecture: amd64\nInstalled-Size: 12\nSize: 345\n"
        "Depends: kmod, linux-base (>= 4.3~), initramfs-tools (>= 0.1) | linux-initramfs-tool,\n  wrapped\n"
        "Pre-Depends: libc6:any\nFilename: pool/x.deb\n\nPackage: virtual\nVersion: 1\n\n"
    )
    (package,) = parse_packages(text)
    assert package.file_name == "linux-image-1_2%3a3.4-5_amd64.deb"
    assert (package.size, package.installed_size) == (345, 12288)
    assert package.depends[:4] == ("libc6", "kmod", "linux-base", "initramfs-tools")
    assert list(dependencies("", "a [amd64], b|c , d(=1)")) == ["a", "b", "d"]
