"""The compiler of eBPF programs, and the libraries that load them: Debian's, unpacked in the cache.

clang and its linker come from one fixed suite, whatever this machine runs, so that the same source gives the same
program everywhere. They start through their own loader (ld.so(8)) and need nothing installed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from kobox.images.debian.packages import packages
from kobox.images.debian.program import find_in, program_words
from kobox.images.store import Progress, Store

_SUITE = "trixie"
_LLVM = 19
# clang's dependencies also name the C++ headers and the sanitizers: 84 MB instead of 60.
_CLANG = (
    f"clang-{_LLVM}",
    f"libclang-cpp{_LLVM}",
    f"libclang-common-{_LLVM}-dev",
    f"libllvm{_LLVM}",
    "libc6",
    "libstdc++6",
    "libgcc-s1",
    "libz3-4",
    "libxml2",
    "liblzma5",
    "libedit2",
    "libbsd0",
    "libmd0",
    "libffi8",
    "libtinfo6",
    "libzstd1",
    "zlib1g",
)
_HEADERS = ("libbpf-dev",)
_BPFTOOL = ("bpftool", "libc6", "libcap2", "libelf1t64", "zlib1g", "libzstd1")
_PAHOLE = ("pahole", "libc6", "libdw1t64", "libelf1t64", "zlib1g", "libzstd1", "libbz2-1.0", "liblzma5", "libbpf1")
# What a static program on libbpf is linked of.
_LOADER = (
    *_HEADERS,
    "libelf-dev",
    "zlib1g-dev",
    "libzstd-dev",
    "libc6-dev",
    "linux-libc-dev",
    "libgcc-14-dev",
)


@dataclass(frozen=True)
class BpfTools:
    """clang, bpftool, the headers of libbpf and what links a program on it, fetched when they are first asked for."""

    store: Store
    progress: Progress | None = None

    def _packages(self, names: tuple[str, ...], port: str = "amd64") -> list[Path]:
        return packages(self.store, names, self.progress, suite=_SUITE, alone=True, port=port)

    @cached_property
    def clang(self) -> list[str]:
        """The words that start clang. Raises `FetchError`."""
        trees = self._packages(_CLANG)
        words = program_words(trees, f"usr/lib/llvm-{_LLVM}/bin/clang")
        resources = find_in(trees, f"usr/lib/llvm-{_LLVM}/lib/clang/{_LLVM}")
        return [*words, "-resource-dir", str(resources)]

    @cached_property
    def bpftool(self) -> list[str]:
        """The words that start bpftool. Raises `FetchError`."""
        return program_words(self._packages(_BPFTOOL), "usr/sbin/bpftool")

    @cached_property
    def pahole(self) -> list[str]:
        """The words that start pahole, which makes BTF of DWARF. Raises `FetchError`."""
        return program_words(self._packages(_PAHOLE), "usr/bin/pahole")

    @cached_property
    def headers(self) -> Path:
        """The directory that holds bpf/bpf_helpers.h and its siblings. Raises `FetchError`."""
        return find_in(self._packages(_HEADERS), "usr/include/bpf").parent

    def kernel_headers(self, gnu: str) -> list[Path]:
        """The directories of the kernel's interface to user space (linux/bpf.h, asm/types.h). `gnu` is GNU's name of
        the architecture. Raises `FetchError`."""
        (tree,) = self._packages(("linux-libc-dev",))
        return [place for place in (tree / f"usr/include/{gnu}", tree / "usr/include") if place.is_dir()]

    @cached_property
    def linker(self) -> list[str]:
        """The words that start ld.lld. Raises `FetchError`."""
        trees = self._packages((*_CLANG, f"lld-{_LLVM}"))
        return program_words(trees, f"usr/lib/llvm-{_LLVM}/bin/lld", "ld.lld")

    def link_trees(self, port: str) -> list[Path]:
        """The packages with the static libraries and C headers of a program on libbpf, for one of Debian's ports
        ("amd64", "arm64"). Raises `FetchError`."""
        return self._packages(_LOADER, port)
