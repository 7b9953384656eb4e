"""The programs a kernel's headers need to build a module, where this machine's own will not do.

Kbuild runs programs of the kernel's own (modpost, objtool, fixdep, …), which Debian builds against the C library of
the kernel's suite; newer kernels also want pahole, and options of a compiler as new as theirs. On an older machine
neither starts or compiles. Then the suite's own C library, pahole and, if need be, compiler and binutils are unpacked
(not installed) in the cache, once for all kernels that have the same:

    ROOT/toolchains/KEY/usr/…                   the unpacked packages
    ROOT/toolchains/KEY/bin/gcc, ld, pahole, …  links under plain names
    ROOT/kernels/NAME/toolchain -> ../../toolchains/KEY

A program that lives on another C library is started through that library's own loader (ld.so(8)), so each such
program PROGRAM is renamed PROGRAM.elf and stands behind a script of its name:

    exec TOOLCHAIN/…/ld-linux-x86-64.so.2 --library-path TOOLCHAIN/… --argv0 PROGRAM PROGRAM.elf ARGUMENTS

Loaders before glibc 2.33 have no --argv0; the program is then called PROGRAM.elf, in the same directory. One that
starts another of its own name, as Debian 11's modpost starts modpost.real-lsb-64, finds a link to that.
Whether any of it is needed is found by trying, not by comparing versions.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from kobox.arch.arch import Arch
from kobox.arch.registry import ARCHITECTURES
from kobox.errors import FetchError
from kobox.images.debian.archive import Archive, ArchivePackage
from kobox.images.debian.suite import machine_suite
from kobox.images.kernel_image import Progress

_NATIVE = "x86_64-linux-gnu"
_LOADER = "/lib64/ld-linux-x86-64.so.2"
# Of the compiler's packages: what programs need at run time, and a kernel module never.
_RUNTIMES = re.compile(r"lib(asan|lsan|tsan|hwasan|ubsan|itm|atomic|gomp|quadmath)\d+|libc-gconv-.*|openssl-.*")
_DEAD_WEIGHT = (
    "usr/share",
    "etc",
    "var",
    "usr/lib/*/gconv",
    "usr/lib/locale",
    "usr/lib/*/*gprofng*",
    "usr/lib/compat-ld",
    "usr/lib/*/audit",
    "usr/lib*/gcc/*/*/*.a",
    "usr/lib*/gcc/*/*/lib*.so",
    "usr/lib*/gcc/*/*/plugin",
    "usr/lib*/gcc/*/*/lto*",
    "usr/lib*/gcc/*/*/g++-mapper-server",
    "usr/bin/*-lto-dump*",
    "usr/bin/*gcov*",
    "usr/bin/*gprof*",
    "usr/bin/gp-*",
    "usr/bin/*-dwp",
)
_GCC = re.compile(r"gcc-\d+")
_PROBE = '#include <linux/module.h>\nMODULE_LICENSE("GPL");\n'

_KERNELVARIABLES = """\
# kobox: the programs of the kernel's own suite, because this machine's will not do
kobox_toolchain := $(realpath $(dir $(lastword $(MAKEFILE_LIST)))../../..)/toolchain/bin
ifneq ($(wildcard $(kobox_toolchain)/pahole),)
PAHOLE := $(kobox_toolchain)/pahole
endif
ifneq ($(wildcard $(kobox_toolchain)/gcc),)
CC := $(kobox_toolchain)/gcc
override CROSS_COMPILE := $(kobox_toolchain)/
endif
"""


def complete_tools(
    archive: Archive, kernel: Sequence[ArchivePackage], root: Path, headers: Path, progress: Progress
) -> None:
    """Make the headers unpacked under `root` fit to build modules on this machine, fetching what they lack.

    `archive` holds programs for this machine; `kernel` may be of another architecture. Raises FetchError.
    """
    cross = next((arch.gnu for arch in ARCHITECTURES if _is_foreign(arch, archive, kernel)), "")
    programs = list(elf_programs(root / "usr/lib"))
    packages: list[ArchivePackage] = []
    foreign = not all(starts(program) for program in programs)
    if cross and not has_types(headers):
        packages += archive.needed_by("pahole")
    if foreign or ((headers / "vmlinux").exists() and shutil.which("pahole") is None):
        kbuild = [package.name for package in kernel if package.name.startswith("linux-kbuild")]
        packages += [package for name in kbuild for package in archive.needed_by(name) if package.name != name]
        make_toolchain(archive, packages, root, progress, cross)
    if foreign:
        for program in programs:
            wrap(program, root / "toolchain")
    _write_variables(headers)
    progress("trying this machine's compiler", 0, 0)
    if cross or not compiles(archive, headers):
        compilers = [name for package in kernel for name in package.depends if _GCC.match(name)]
        for name in dict.fromkeys(compilers):
            packages += archive.needed_by(f"{_GCC.findall(name)[0]}-{cross}" if cross else name)
        make_toolchain(archive, packages, root, progress, cross)


def has_types(headers: Path) -> bool:
    """Whether the kernel whose headers these are was built with BTF."""
    try:
        return "\nCONFIG_DEBUG_INFO_BTF=y\n" in (headers / ".config").read_text(errors="replace")
    except OSError:
        return False


def _is_foreign(arch: Arch, archive: Archive, kernel: Sequence[ArchivePackage]) -> bool:
    """Whether a kernel is for this architecture, and the archive's programs are for another one."""
    return arch.debian != archive.architecture and any(package.architecture == arch.debian for package in kernel)


def compiles(archive: Archive, headers: Path) -> bool:
    """Whether this machine's compiler builds a module with these headers.

    Without a compiler there is nothing to try: that of the machine's own suite will do once it is installed.
    """
    if shutil.which("gcc") is None or shutil.which("make") is None:
        return archive.suite == machine_suite()
    with tempfile.TemporaryDirectory(prefix="kobox-") as room:
        Path(room, "probe.c").write_text(_PROBE)
        Path(room, "Kbuild").write_text("obj-m := probe.o\n")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "KBUILD"))}
        done = subprocess.run(
            ["make", "-C", str(headers), f"M={room}", "modules"], capture_output=True, env=environment, check=False
        )
        return done.returncode == 0


def make_toolchain(
    archive: Archive, packages: Sequence[ArchivePackage], root: Path, progress: Progress, cross: str = ""
) -> None:
    """Unpack packages as the toolchain of the kernel under `root`, or link to the one that another kernel has.

    `cross` is GNU's name of the kernel's architecture where it is not this machine's.
    """
    wanted = {package.name: package for package in packages if not _RUNTIMES.fullmatch(package.name)}
    names = "\n".join(sorted(package.file_name for package in wanted.values()))
    key = f"{archive.suite}-{hashlib.sha256(names.encode()).hexdigest()[:12]}"
    place = root.parent.parent / "toolchains" / key
    if not place.is_dir():
        aside = root / "toolchain.new"
        archive.unpack(archive.download(list(wanted.values()), progress), aside, progress)
        for pattern in _DEAD_WEIGHT:
            for path in aside.glob(pattern):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        for program in list(elf_programs(aside)):
            wrap(program, aside)
        _plain_names(aside, cross or _NATIVE)
        place.parent.mkdir(exist_ok=True)
        aside.rename(place)
    link = root / "toolchain"
    link.unlink(missing_ok=True)
    link.symlink_to(Path("../../toolchains") / key)


def sweep_toolchains(root: Path) -> None:
    """Remove the toolchains of the cache `root` that no kernel has any more."""
    used = {link.resolve() for link in root.glob("kernels/*/toolchain")}
    for toolchain in root.glob("toolchains/*"):
        if toolchain.resolve() not in used:
            shutil.rmtree(toolchain, ignore_errors=True)


def elf_programs(root: Path) -> Iterator[Path]:
    """The dynamically linked ELF programs under a directory: files to be executed, with an interpreter."""
    for directory, _, names in os.walk(root):
        for name in names:
            path = Path(directory, name)
            if path.is_symlink() or not os.access(path, os.X_OK) or ".so" in name or name.endswith(".elf"):
                continue
            with path.open("rb") as file:
                if file.read(4) == b"\x7fELF" and _LOADER.encode() in file.read(0x1000):
                    yield path


def starts(program: Path) -> bool:
    """Whether this machine's loader finds all that a program needs. The program itself is not run."""
    if not Path(_LOADER).exists():
        return False
    done = subprocess.run([_LOADER, "--list", str(program)], capture_output=True, text=True, check=False)
    return done.returncode == 0 and "not found" not in done.stdout + done.stderr


def wrap(program: Path, toolchain: Path) -> None:
    """Put a script in a program's place that starts it through the loader of a toolchain."""
    real = program.with_name(program.name + ".elf")
    loader = next((path for path in sorted(toolchain.glob("**/ld-linux-x86-64.so.2"))), None)
    if loader is None:
        raise FetchError(f"the packages of the toolchain hold no {Path(_LOADER).name}")
    # A kernel reaches its toolchain by the link in its own directory, so the path to that is what must be relative.
    up = os.path.relpath(toolchain, program.parent)
    inside = loader.relative_to(toolchain)
    named = ' --argv0 "$0"' if _takes_argv0(loader, program) else ""
    if not named:
        for other in [path for path in program.parent.glob(f"{program.name}.*") if not path.name.endswith(".elf")]:
            link = other.with_name(other.name.replace(program.name, real.name, 1))
            link.unlink(missing_ok=True)
            link.symlink_to(other.name)
    libraries = ":".join(f'"$root"/{place}/x86_64-linux-gnu' for place in ("usr/lib", "lib"))
    program.rename(real)
    program.write_text(
        "#!/bin/sh\n"
        f'root="${{0%/*}}"/{up}\n'
        f'exec "$root"/{inside} --library-path {libraries}{named} "${{0%/*}}"/{real.name} "$@"\n'
    )
    program.chmod(0o755)


def _takes_argv0(loader: Path, program: Path) -> bool:
    """Whether a loader has the option --argv0. The program is not run."""
    done = subprocess.run([str(loader), "--argv0", "x", "--list", str(program)], capture_output=True, check=False)
    return b"--argv0" not in done.stdout + done.stderr


def _plain_names(toolchain: Path, gnu: str) -> None:
    """Give the compiler and the binutils the names that Kbuild calls them by, in `bin`. A toolchain may be libraries
    alone: this machine's compiler will do, and Kbuild's own programs lack libelf."""
    (toolchain / "bin").mkdir(exist_ok=True)
    for program in sorted((toolchain / "usr/bin").glob("*")):
        name = re.sub(rf"^{re.escape(gnu)}-|-\d+$|\.elf$", "", program.name)
        if program.suffix == ".elf":
            continue
        script = toolchain / "bin" / name
        beside = ' -B"${0%/*}"/' if name == "gcc" else ""  # its assembler and linker are the ones beside it
        script.unlink(missing_ok=True)
        script.write_text(f'#!/bin/sh\nexec "${{0%/*}}"/../usr/bin/{program.name}{beside} "$@"\n')
        script.chmod(0o755)


def _write_variables(headers: Path) -> None:
    """Have `.kernelvariables`, which Debian's Makefile reads, name the programs of the toolchain if there are any."""
    variables = headers / ".kernelvariables"
    if variables.is_file():
        with variables.open("a") as file:
            file.write(_KERNELVARIABLES)
