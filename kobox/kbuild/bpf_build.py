"""Compiles eBPF programs: `NAME.bpf.c` to `NAME.bpf.o`, for a kernel's own types.

    the kernel's image -> its BTF -> bpftool -> vmlinux.h      kept in the cache, once a kernel
    NAME.bpf.c + vmlinux.h + libbpf's headers -> clang -> NAME.bpf.o

clang, bpftool and the headers are Debian's (`kobox.images.debian.clang`): nothing has to be installed. The object is
relocated when it is loaded (CO-RE), so it runs on other kernels too.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from kobox.atomic_file import write_file
from kobox.errors import BuildError
from kobox.images.debian.clang import BpfTools
from kobox.images.flat_image import unpack_image
from kobox.images.kernel_image import KernelImage, Progress
from kobox.images.store import Store
from kobox.images.vmlinux import extract_vmlinux

SUFFIX = ".bpf.c"
_MACROS = {"x86_64": "x86", "aarch64": "arm64"}
_MOST_SECTIONS = 4096
_BTF_HEADER = struct.pack("<HBBI", 0xEB9F, 1, 0, 24)
_FLAT = ("aarch64", "riscv64")
_FEW_TYPES = 100_000  # bytes: a kernel's own take megabytes


def bpf_sources(source: Path) -> list[Path]:
    """The eBPF programs among what is to be built: a file, or those of a directory."""
    if source.is_dir():
        return sorted(source.glob(f"*{SUFFIX}"))
    return [source] if source.name.endswith(SUFFIX) else []


def build_bpf(
    sources: Sequence[Path], kernel: KernelImage, output: Path | None = None, progress: Progress | None = None
) -> tuple[list[Path], str]:
    """Compile programs, each into `output` (None: beside its source): the objects, and what clang said.

    Raises `BuildError` with clang's words, `FetchError`, `OSError`.
    """
    store = Store()
    tools = BpfTools(store, progress)
    header = vmlinux_header(kernel, store, tools)
    made, said = [], ""
    for source in sources:
        if not source.exists():
            raise BuildError(f"{source}: no such file or directory")
        target = (output or source.parent) / f"{source.name.removesuffix('.c')}.o"
        target.parent.mkdir(parents=True, exist_ok=True)
        said += _compile(tools, source, target, kernel, header)
        made.append(target)
    return made, said


def _compile(tools: BpfTools, source: Path, target: Path, kernel: KernelImage, header: Path) -> str:
    with tempfile.TemporaryDirectory(prefix="kobox-") as room:
        made = Path(room, "object.o")
        system = [tools.headers, *tools.kernel_headers(kernel.arch.gnu)]
        words = [
            *tools.clang,
            *("--target=bpf", "-mcpu=v3", "-g", "-O2", "-Wall", "-Wno-unused-function"),
            *("-Wno-missing-declarations", "-Wno-compare-distinct-pointer-types"),
            f"-D__TARGET_ARCH_{_MACROS.get(kernel.architecture, kernel.architecture)}",
            *("-I", str(source.resolve().parent), "-I", str(header.parent)),
            *(word for folder in system for word in ("-isystem", str(folder))),
            *("-c", str(source), "-o", str(made)),
        ]
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode:
            raise BuildError(f"{source}: clang cannot compile it", output=done.stderr, hint=_hint(done.stderr, kernel))
        write_file(target, made.read_bytes(), mode=0o644)
        return done.stderr


_HINTS = (
    (
        r"no member named '(\w+)' in '(struct \w+)'",
        "{kernel} has no {1} in {2}: its types are those of vmlinux.h. A field that only some kernels have is read"
        " with a structure of your own: `struct NAME___old {{ … }} __attribute__((preserve_access_index));` and"
        " bpf_core_field_exists().",
    ),
    (
        r"(?:redefinition of|typedef redefinition with) .*'(\w+)'",
        "vmlinux.h holds all types of the kernel: leave out the headers of the kernel (linux/…, net/…) beside it.",
    ),
    (
        r"use of undeclared identifier '((?:ETH_P|IPPROTO|TC_ACT|AF|SOL|SO|TCP|O|S|PROT|MAP)_\w+)'",
        "{1} is a macro, and vmlinux.h has types and enumerations only: define it in the program.",
    ),
    (r"'([\w/.-]+\.h)' file not found", "{1} is neither libbpf's nor one of the kernel's interface to user space."),
    (
        r"(?:Looks like the BPF stack limit|stack limit.*exceeded)",
        "A program has 512 bytes of stack: keep large structures in a map (BPF_MAP_TYPE_PERCPU_ARRAY with one entry).",
    ),
    (
        r"(?:undeclared function|call to undeclared function) '(\w+)'",
        "{1} is no helper of libbpf's bpf_helpers.h. A kernel function that programs may call is declared as"
        " `extern … {1}(…) __ksym;`.",
    ),
    (r"A call to built-in function '(\w+)' is not supported", "Keep the size constant: {1} is then compiled inline."),
    (r"unknown type name '(u8|u16|u32|u64|__u\d+)'", 'Include "vmlinux.h" first: it defines {1}.'),
)


def _hint(said: str, kernel: KernelImage) -> str:
    for pattern, hint in _HINTS:
        if found := re.search(pattern, said):
            return hint.format(found[0], *found.groups(), kernel=kernel.name)
    return ""


def vmlinux_header(kernel: KernelImage, store: Store, tools: BpfTools) -> Path:
    """vmlinux.h of a kernel: all its types, made from its BTF once and kept. Raises `BuildError`, `FetchError`."""
    key = hashlib.sha256(f"{kernel.digest}\0{kernel.name}".encode()).hexdigest()[:16]
    place = store.root / "symbols" / f"bpf-{key}" / "vmlinux.h"
    if place.exists():
        os.utime(place)
        return place
    with tempfile.NamedTemporaryFile(prefix="kobox-") as file:
        file.write(kernel_btf(kernel))
        file.flush()
        words = [*tools.bpftool, "btf", "dump", "file", file.name, "format", "c"]
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        raise BuildError(f"kernel {kernel.name}: bpftool cannot read its types", output=done.stderr)
    place.parent.mkdir(parents=True, exist_ok=True)
    write_file(place, done.stdout.encode(), mode=0o644)
    return place


def kernel_btf(kernel: KernelImage) -> bytes:
    """The section .BTF of a kernel's image (gABI, "Sections"). Raises `BuildError` where there is none."""
    data = kernel.vmlinuz.read_bytes()
    if kernel.architecture in _FLAT:
        return _in_flat_image(unpack_image(data, kernel.name), kernel)
    if kernel.architecture != "x86_64":
        raise BuildError(
            f"kernel {kernel.name}: types are not read from images of {kernel.architecture}",
            hint="`kobox build -k` names an x86-64, arm64 or riscv64 kernel; modules without --btf build for all.",
        )
    image = extract_vmlinux(data, kernel.name)
    at, size, count, names = struct.unpack_from("<Q", image, 40)[0], *struct.unpack_from("<HHH", image, 58)
    rows = []
    for n in range(min(count, _MOST_SECTIONS)):
        if at + (n + 1) * size > len(image) or size < 64:
            break
        name, _, _, _, offset, length = struct.unpack_from("<IIQQQQ", image, at + n * size)
        rows.append((name, offset, length))
    if names < len(rows):
        _, offset, length = rows[names]
        strings = bytes(image[offset : offset + length])
        for name, offset, length in rows:
            if strings[name : name + 5] == b".BTF\0":
                return bytes(image[offset : offset + length])
    raise _without_types(kernel)


def _in_flat_image(image: bytes, kernel: KernelImage) -> bytes:
    """The BTF of an image without sections: found by its header (struct btf_header, include/uapi/linux/btf.h)."""
    at = -1
    while (at := image.find(_BTF_HEADER, at + 1)) >= 0:
        types, types_size, strings, strings_size = struct.unpack("<IIII", image[at + 8 : at + 24].ljust(16, b"\0"))
        end = at + 24 + strings + strings_size
        if types == 0 and strings == types_size > _FEW_TYPES and end <= len(image) and image[end - 1] == 0:
            return image[at:end]
    raise _without_types(kernel)


def _without_types(kernel: KernelImage) -> BuildError:
    return BuildError(
        f"kernel {kernel.name} has no type information (BTF): programs cannot be compiled for it",
        hint="Take a kernel with CONFIG_DEBUG_INFO_BTF=y: Debian's 64-bit kernels have it.",
    )
