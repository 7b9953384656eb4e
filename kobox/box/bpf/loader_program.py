"""The loader that runs in boxes: `loader.c` on Debian's libbpf, built once and kept in the cache.

    ROOT/programs/bpf-loader-PORT-KEY      a static program; KEY is a digest of its source

clang and ld.lld are Debian's too, so this needs no compiler on this machine (`kobox.images.debian.clang`).
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

from kobox.arch.arch import Arch
from kobox.atomic_file import write_file
from kobox.errors import BuildError
from kobox.images.debian.clang import BpfTools
from kobox.images.debian.program import find_in
from kobox.images.store import Progress, Store

_SOURCE = Path(__file__).with_name("loader.c")
_PORTS = ("amd64", "arm64")  # Debian's names
_LIBRARIES = ("libbpf.a", "libelf.a", "libz.a", "libzstd.a", "libc.a")


def loader_program(store: Store, arch: Arch, progress: Progress | None = None) -> bytes:
    """The loader's file, for boxes of this architecture: x86-64 or arm64. Raises `FetchError`, `BuildError`,
    `OSError`."""
    if arch.debian not in _PORTS:
        raise BuildError(
            f"eBPF objects cannot be loaded in a box of {arch.name}: the loader is built for {' and '.join(_PORTS)}",
            hint="Boot an x86-64 kernel, or an arm64 one.",
        )
    source = _SOURCE.read_bytes()
    key = hashlib.sha256(source).hexdigest()[:16]
    place = store.root / "programs" / f"bpf-loader-{arch.debian}-{key}"
    try:
        return place.read_bytes()
    except FileNotFoundError:
        pass
    built = _build(BpfTools(store, progress), arch.debian, arch.gnu)
    place.parent.mkdir(parents=True, exist_ok=True)
    write_file(place, built, mode=0o755)
    return built


def _build(tools: BpfTools, port: str, target: str) -> bytes:
    trees = tools.link_trees(port)
    folders = [tree / name for tree in trees for name in ("usr/include", f"usr/include/{target}")]
    headers = [word for folder in folders if folder.is_dir() for word in ("-isystem", str(folder))]

    def library(name: str) -> str:
        return str(find_in(trees, f"usr/lib/{target}/{name}"))

    def compiler(name: str) -> str:
        place = next((found for tree in trees for found in tree.glob(f"usr/lib/gcc/{target}/*/{name}")), Path(name))
        return str(place)

    with tempfile.TemporaryDirectory(prefix="kobox-") as room:
        part, whole = os.path.join(room, "loader.o"), os.path.join(room, "loader")
        own = ["-isystem", f"{tools.clang[-1]}/include"]
        _run([*tools.clang, f"--target={target}", "-O2", "-nostdinc", *own, *headers, "-c", str(_SOURCE), "-o", part])
        start = [library("crt1.o"), library("crti.o"), compiler("crtbeginT.o")]
        end = [compiler("crtend.o"), library("crtn.o")]
        group = [*map(library, _LIBRARIES), compiler("libgcc.a"), compiler("libgcc_eh.a")]
        archives = ["--start-group", *group, "--end-group"]
        _run([*tools.linker, "-static", "-s", "--gc-sections", "-o", whole, *start, part, *archives, *end])
        return Path(whole).read_bytes()


def _run(words: list[str]) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError("the loader of eBPF objects could not be built", output=done.stderr)
