"""Installs the packages of `kobox package` in a clean Debian, and loads what DKMS built there in a box.

    python bench/dkms.py [SUITE …]                      as root; default bookworm and trixie; minutes, and 2 GB of /tmp

debootstrap makes a new root directory; in it, dkms and the headers of a cached kernel come by apt, then the packages.
All of it runs in namespaces of its own and without CAP_SYS_MODULE: the kernel is this machine's, and stays as it is.

    DKMS package       apt-get install ./thing-dkms_0.1_all.deb → built, signed with DKMS's own key, installed
                       the module comes out; a box that enforces signatures and trusts that key loads it
    new version        0.2 replaces 0.1, in DKMS and below /usr/src
    prebuilt package   beside the kernel's image: modprobe finds its module, the box loads it
    removal            nothing of it is left
    lintian            finds no error in either, and nothing to warn of
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import kobox
from kobox.images.debian.apt import machine_mirrors
from kobox.images.store import KernelImage, Store
from kobox.kbuild.install import InstallOptions
from kobox.kbuild.new import new
from kobox.kbuild.package import PackageOptions, package_dkms, package_prebuilt
from kobox.signing import keys
from kobox.signing.sign import signer_from
from kobox.signing.verify import verify
from tests.debian import KEYRING, Suite


class Chroot:
    """A root directory that commands run in, in namespaces of their own."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, *command: str, fails: bool = False) -> str:
        """Run a command in it and return what it printed; raises AssertionError unless it ends as expected."""
        inside = f'mount -t proc proc {self.root}/proc && exec chroot {self.root} "$@"'
        words = ["setpriv", "--bounding-set=-sys_module", "--inh-caps=-sys_module"]
        words += ["unshare", "--mount", "--pid", "--uts", "--fork", "sh", "-c", inside, "sh", *command]
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        settings = {"PATH": path, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C", "HOME": "/root"}
        done = subprocess.run(words, capture_output=True, text=True, check=False, env=settings)
        assert bool(done.returncode) == fails, f"{' '.join(command)}:\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def install(self, *packages: str) -> str:
        """Install packages by apt: names, or .deb files of this machine."""
        words = []
        for package in packages:
            if package.endswith(".deb"):
                shutil.copy(package, self.root / "tmp")
            words.append(f"/tmp/{Path(package).name}" if package.endswith(".deb") else package)
        return self.run("apt-get", "install", "-qy", "--no-install-recommends", *words)


def bootstrap(suite: str, root: Path) -> Chroot:
    """A minimal Debian."""
    mirror, security = machine_mirrors()
    tool = Suite("bookworm").package("debootstrap")
    command = [str(tool / "usr/sbin/debootstrap"), "--variant=minbase", f"--keyring={KEYRING}", suite, str(root)]
    environment = os.environ | {"DEBOOTSTRAP_DIR": str(tool / "usr/share/debootstrap")}
    done = subprocess.run([*command, mirror], env=environment, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stdout[-2000:] + done.stderr
    sources = f"deb {mirror} {suite} main\ndeb {security} {suite}-security main\n"
    (root / "etc/apt/sources.list").write_text(sources)
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    found = Chroot(root)
    capabilities = int(found.run("grep", "CapEff", "/proc/self/status").split()[1], 16)
    assert not capabilities & 1 << 16, "CAP_SYS_MODULE must not be had in it"
    return found


def check(suite: str, kernel: KernelImage, room: Path) -> None:
    """All that is to be shown in one suite."""
    started = time.monotonic()

    def told(text: str) -> None:
        print(f"{suite} {time.monotonic() - started:5.0f} s  {text}", flush=True)

    chroot = bootstrap(suite, room / "root")
    told("debootstrap")
    chroot.run("apt-get", "update", "-q")
    chroot.install("dkms", "openssl", f"linux-headers-{kernel.release}")
    told(f"dkms {chroot.run('dpkg-query', '-W', '-f', '${Version}', 'dkms')}, headers of {kernel.release}")
    source = room / "thing"
    new("export", "thing", source)
    by_dkms(chroot, kernel, source, room)
    told("DKMS: installed, built, signed; loaded in a box that enforces signatures; 0.2 in the place of 0.1; removed")
    chroot.install(f"linux-image-{kernel.release}")
    told("the kernel's image installed")
    prebuilt(chroot, kernel, source, room)
    told("prebuilt: installed, found by modprobe, loaded in a box; removed")
    chroot.install("lintian")
    for path in sorted(room.glob("*.deb")):
        chroot.run("lintian", "--allow-root", "--fail-on", "error,warning", f"/tmp/{path.name}")
    told(f"lintian {chroot.run('dpkg-query', '-W', '-f', '${Version}', 'lintian')}: nothing to complain of")


def by_dkms(chroot: Chroot, kernel: KernelImage, source: Path, room: Path) -> None:
    """The DKMS package's life."""
    about = PackageOptions(maintainer="Ann Example <ann@example.org>", version="0.1")
    first = package_dkms(source, room, about)
    chroot.install(str(first.path))
    assert "thing/0.1" in (status := chroot.run("dkms", "status")), status
    assert ": installed" in status, status
    assert kernel.release in status, status
    placed = sorted((chroot.root / "lib/modules" / kernel.release).glob("updates/dkms/thing*.ko*"))
    assert [path.name.split(".")[0] for path in placed] == ["thing", "thing_user"], placed
    load(kernel, placed, chroot.root / "var/lib/dkms/mok.pub")
    second = package_dkms(source, room, PackageOptions(maintainer=about.maintainer, version="0.2"))
    chroot.install(str(second.path))
    assert "thing/0.2" in (status := chroot.run("dkms", "status")), status
    assert "thing/0.1" not in status, status
    assert [path.name for path in (chroot.root / "usr/src").glob("thing-*")] == ["thing-0.2"]
    assert "OK" not in chroot.run("dpkg", "--verify", "thing-dkms")
    chroot.run("apt-get", "purge", "-qy", "thing-dkms")
    assert "thing" not in chroot.run("dkms", "status")
    left = [*(chroot.root / "lib/modules").rglob("thing*.ko*"), *(chroot.root / "usr/src").glob("thing*")]
    assert not left, left


def prebuilt(chroot: Chroot, kernel: KernelImage, source: Path, room: Path) -> None:
    """The prebuilt package's life."""
    key = keys.generate()
    certificate = keys.self_signed(key, "the packager")
    files = keys.write_pair(room / "keys", "mine", key, certificate)
    about = PackageOptions(maintainer="Ann Example <ann@example.org>")
    finishing = InstallOptions(strip=True, signer=signer_from(key, certificate), compress="xz")
    made = package_prebuilt(source, kernel, room, about, finishing)
    chroot.install(str(made.path))
    shown = chroot.run("modprobe", "-S", kernel.release, "--show-depends", "thing_user")
    tree = f"/lib/modules/{kernel.release}/updates"
    assert shown.split() == ["insmod", f"{tree}/thing.ko.xz", "insmod", f"{tree}/thing_user.ko.xz"], shown
    load(kernel, [chroot.root / f"{tree}/{name}.ko.xz".lstrip("/") for name in ("thing", "thing_user")], files.der)
    chroot.run("apt-get", "purge", "-qy", made.package.name)
    assert "not found" in chroot.run("modprobe", "-S", kernel.release, "--show-depends", "thing_user", fails=True)


def load(kernel: KernelImage, modules: list[Path], certificate: Path) -> None:
    """Load modules in a box that takes nothing but what this certificate, or the kernel's own, verifies."""
    (trusted,) = keys.load_certificates(certificate)
    for path in modules:
        verdict = verify(path.read_bytes(), [trusted])
        assert verdict.valid, verdict
    with kobox.boot(kernel, trust=[trusted], enforce_signatures=True) as box:
        for path in modules:
            box.insmod(path)
        for path in reversed(modules):
            box.rmmod(path.name.split(".")[0])


def main() -> int:
    """Check the suites named, and say what was shown."""
    parser = argparse.ArgumentParser(description="Install `kobox package`'s packages in a clean Debian.")
    parser.add_argument("suites", nargs="*", default=["bookworm", "trixie"], help="suites (default: bookworm trixie)")
    arguments = parser.parse_args()
    if os.geteuid():
        print("check-dkms: debootstrap needs root", file=sys.stderr)
        return 1
    store = Store()
    for suite in arguments.suites:
        have = [
            image for image in store.list() if image.origin.startswith(f"debian/{suite} ") and "cloud" in image.name
        ]
        kernel = have[-1] if have else store.add(f"debian/{suite}")
        with tempfile.TemporaryDirectory(prefix="kobox-dkms-") as room:
            check(suite, kernel, Path(room))
    return 0


if __name__ == "__main__":
    sys.exit(main())
