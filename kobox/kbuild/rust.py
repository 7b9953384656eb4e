"""Rust for a kernel whose headers ship no Rust metadata: its own rust/, built once with the compiler that built it.

    kernels/NAME/rust/tools/usr/…       rustc, its standard library and bindgen, unpacked, started by their own loader
    kernels/NAME/rust/usr/src/…         a copy of the headers, with rust/ and scripts/ of the kernel's source in it
        linux-headers-RELEASE/rust/     what the build makes: libkernel.rmeta and its siblings, proc macros
    kernels/NAME/rust/toolchain         a link to what builds C for it, where the headers have one

Names of Rust symbols hold a hash of the compiler's version, so only the very rustc that built the kernel makes modules
that it takes (CONFIG_RUSTC_VERSION_TEXT). The archive has that one as long as the kernel is the suite's newest.

Source: Documentation/rust/quick-start.rst, rust/Makefile; `make prepare` is not needed: the headers come prepared.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path

from kobox.atomic_file import write_file
from kobox.errors import BuildError, FetchError
from kobox.images.debian.archive import Archive, ArchivePackage
from kobox.images.debian.toolchain import elf_programs, wrap
from kobox.images.kernel_image import KernelImage, Progress
from kobox.images.store import Store

_ORIGIN = re.compile(r"debian/([a-z]+) (\S+) (\S+)")
_DEAD_WEIGHT = ("usr/share", "usr/libexec", "etc", "var", "usr/lib/*/*.a", "usr/lib/llvm-*/lib/*.a")
_CRATES = ("core", "stdarch", "portable-simd", "backtrace")  # of the standard library's source: what core is made of
_MEMBERS = re.compile(r"(?:\./)?[^/]+/(rust/.*|scripts/.*|drivers/base/base\.h)")
# Read by make before the kernel's own Makefile: a goal that builds rust/ alone.
_GOAL = """\
ifeq ($(sub_make_done),1)
kobox-rust:
	$(Q)$(MAKE) $(build)=scripts scripts/target.json
	$(Q)$(MAKE) $(build)=rust
endif
"""
FETCHED, KEPT, MINUTES = 350, 950, 5
"""What it takes, roughly: megabytes to fetch, megabytes in the cache, minutes on two cores."""


class RustSupport:
    """The Rust support of one kernel, as `add_rust` made it. `headers` is what `make -C` takes in place of the
    kernel's own."""

    def __init__(self, kernel: KernelImage) -> None:
        self.place = kernel.directory / "rust"
        name = kernel.headers.name if kernel.headers else ""
        self.headers = self.place / "usr/src" / name

    @property
    def exists(self) -> bool:
        """Whether it was made."""
        return (self.headers / "rust/libkernel.rmeta").is_file()

    @property
    def variables(self) -> list[str]:
        """What make is told."""
        programs = self.place / "tools/usr/bin"
        return [f"RUSTC={programs / 'rustc'}", f"HOSTRUSTC={programs / 'rustc'}", f"BINDGEN={programs / 'bindgen'}"]

    @property
    def environment(self) -> dict[str, str]:
        """What bindgen and rust/Makefile read beside that."""
        found = next(iter(sorted(self.place.glob("tools/usr/lib/llvm-*/lib/libclang*.so*"))), self.place)
        library = next(iter(sorted(self.place.glob("tools/usr/src/rustc-*/library"))), self.place)
        return {"LIBCLANG_PATH": str(found.parent), "RUST_LIB_SRC": str(library)}


def kernel_option(kernel: KernelImage, name: str) -> str:
    """A CONFIG_ option of a kernel's headers, "" where it is not set."""
    try:
        text = ((kernel.headers or Path()) / ".config").read_text(errors="replace")
    except OSError:
        return ""
    found = re.search(rf'^{name}="?(.*?)"?$', text, re.MULTILINE)
    return found[1] if found else ""


def add_rust(store: Store, kernel: KernelImage, progress: Progress) -> RustSupport:
    """Make the Rust support of a kernel, unless it is there: fetch, unpack, build. Some minutes, once.

    Raises `BuildError` for a kernel without CONFIG_RUST and when make fails, `FetchError` when the archive has another
    compiler or source than the kernel's.
    """
    support = RustSupport(kernel)
    if support.exists:
        return support
    version = _compiler_version(kernel)
    suite, kernel_version = _debian_origin(kernel)
    with store.locked(progress), store.staging() as staging:
        if support.exists:  # another process has made it while this one waited
            return support
        archive = Archive.of_suite(suite, store.root / "apt")
        archive.update(progress)
        tools, source = _find(archive, kernel, version, kernel_version)
        _unpack_tools(archive, tools, kernel, staging, progress)
        _copy_headers(kernel, staging)
        (deb,) = archive.download([source], progress)
        progress("unpacking the kernel's rust/", 0, 0)
        _unpack_source(deb, staging, kernel)
        made = RustSupport(kernel._replace(directory=staging))
        made.place = staging
        made.headers = staging / "usr/src" / support.headers.name
        _build(made, progress)
        shutil.rmtree(support.place, ignore_errors=True)
        staging.rename(support.place)
        archive.clean()
    return support


def _compiler_version(kernel: KernelImage) -> str:
    """The version of the rustc that built a kernel: "1.97.1"."""
    if kernel.headers is None:
        raise BuildError(f"kernel {kernel.name} has no headers, so no Rust module can be built for it")
    if kernel_option(kernel, "CONFIG_RUST") != "y":
        raise BuildError(
            f"kernel {kernel.name} is built without Rust (CONFIG_RUST is not set)",
            hint="Debian's kernels since 7.2 have it: `kobox kernel add debian/sid --rust`.",
        )
    found = re.match(r"rustc (\d+\.\d+\.\d+)", kernel_option(kernel, "CONFIG_RUSTC_VERSION_TEXT"))
    if found is None:
        raise BuildError(f"kernel {kernel.name} does not say which rustc built it (CONFIG_RUSTC_VERSION_TEXT)")
    return found[1]


def _debian_origin(kernel: KernelImage) -> tuple[str, str]:
    """(suite, version) of the kernel's package."""
    found = _ORIGIN.match(kernel.origin)
    if found is None:
        raise BuildError(
            f"kernel {kernel.name} is no package of Debian's, and its headers carry no Rust metadata",
            hint="A tree of your own built with CONFIG_RUST=y has them: `kobox kernel add ./vmlinuz --headers DIR`.",
        )
    return found[1], found[3]


def _find(
    archive: Archive, kernel: KernelImage, version: str, kernel_version: str
) -> tuple[list[ArchivePackage], ArchivePackage]:
    """The packages of the compiler and of the kernel's source: exactly the kernel's own. Raises `FetchError`."""
    series = ".".join(kernel.release.split(".")[:2])
    source_name = f"linux-source-{series}"
    shown = archive.show(["rustc", "bindgen", "libclang-dev", "rust-src", source_name])
    if "rustc" not in shown or not shown["rustc"].version.startswith(f"{version}+"):
        have = shown["rustc"].version if "rustc" in shown else "none"
        raise FetchError(
            f"kernel {kernel.name} was built by rustc {version}, and Debian {archive.suite} has {have}:"
            " a module that another one builds has names that the kernel does not know",
            hint="Take the suite's newest kernel: `kobox kernel add debian/sid --rust`.",
        )
    source = shown.get(source_name)
    if source is None or source.version != kernel_version:
        raise FetchError(
            f"kernel {kernel.name} is of version {kernel_version}, and Debian {archive.suite} has the source of"
            f" {source.version if source else 'none'}",
            hint="Take the suite's newest kernel: `kobox kernel add debian/sid --rust`.",
        )
    series = ".".join(version.split(".")[:2])
    clang = next((one for one in shown["libclang-dev"].depends if re.fullmatch(r"libclang-\d+-dev", one)), "")
    number = clang.removeprefix("libclang-").removesuffix("-dev")
    named = ("rustc", "bindgen", "rust-src", "libstd-rust-dev", f"libstd-rust-{series}", f"libclang1-{number}")
    return list(_with_libraries(archive, [*named, f"libclang-common-{number}-dev"])), source


def _with_libraries(archive: Archive, names: Iterable[str]) -> Iterable[ArchivePackage]:
    """Packages, and the shared libraries that they need. Raises `FetchError` for one that is not there."""
    wanted, seen = list(names), dict[str, ArchivePackage]()
    while wanted:
        shown = archive.show(wanted)
        for name in wanted:
            if name in shown:
                seen[name] = shown[name]
            elif not seen or name in names:
                raise FetchError(f"Debian {archive.suite} has no package {name}")
        needed = [one for name in wanted if name in shown for one in shown[name].depends]
        libraries = (one for one in needed if one.startswith("lib") and not one.endswith("-dev") and one not in seen)
        wanted = list(dict.fromkeys(libraries))
    return seen.values()


def _unpack_tools(
    archive: Archive, packages: list[ArchivePackage], kernel: KernelImage, staging: Path, progress: Progress
) -> None:
    tools = staging / "tools"
    archive.unpack(archive.download(packages, progress), tools, progress)
    for crate in tools.glob("usr/src/rustc-*/library/*"):
        if crate.name not in _CRATES:
            shutil.rmtree(crate) if crate.is_dir() else crate.unlink()
    for other in tools.glob("usr/src/rustc-*/*"):
        if other.name != "library":
            shutil.rmtree(other) if other.is_dir() and not other.is_symlink() else other.unlink()
    for pattern in _DEAD_WEIGHT:
        for path in tools.glob(pattern):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for program in list(elf_programs(tools / "usr/bin")):
        wrap(program, tools)
    wanted = kernel_option(kernel, "CONFIG_RUSTC_VERSION_TEXT")
    ran = subprocess.run([str(tools / "usr/bin/rustc"), "--version"], capture_output=True, text=True, check=False)
    if ran.stdout.strip() != wanted:
        raise FetchError(f"kernel {kernel.name} was built by {wanted}, and the archive has {ran.stdout.strip()}")


def _copy_headers(kernel: KernelImage, staging: Path) -> None:
    """The headers, and the programs that they name, at the same places relative to each other."""
    assert kernel.headers is not None
    root = kernel.headers.resolve().parent.parent.parent
    shutil.copytree(root / "usr/src", staging / "usr/src", symlinks=True)
    for kbuild in (root / "usr/lib").glob("linux-kbuild*"):
        shutil.copytree(kbuild, staging / "usr/lib" / kbuild.name, symlinks=True)
    toolchain = kernel.directory / "toolchain"
    if toolchain.exists():
        # By absolute path: while it is being built it lies at another depth.
        (staging / "toolchain").symlink_to(toolchain.resolve())


def _unpack_source(deb: Path, staging: Path, kernel: KernelImage) -> None:
    """rust/, the scripts that it needs and one header, out of the archive within the package."""
    assert kernel.headers is not None
    source = staging / "source"
    process = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout as stream, tarfile.open(fileobj=stream, mode="r|") as package:
        for member in package:
            inner = package.extractfile(member) if member.name.endswith(".tar.xz") else None
            if inner is None:
                continue
            with tarfile.open(fileobj=inner, mode="r|xz") as tree:
                for one in tree:
                    if found := _MEMBERS.fullmatch(one.name):
                        one.name = found[1]
                        tree.extract(one, source, filter="data")
            break
    process.kill()
    process.wait()
    if not (source / "rust/Makefile").exists():
        raise FetchError(f"{deb.name} holds no rust/ of the kernel")
    (common,) = [place for place in (staging / "usr/src").glob("linux-headers-*-common*") if place.is_dir()]
    shutil.copytree(source / "rust", common / "rust", dirs_exist_ok=True)
    for path in (source / "scripts").rglob("*"):
        target = common / "scripts" / path.relative_to(source / "scripts")
        if path.is_file() and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
    (common / "drivers/base").mkdir(parents=True, exist_ok=True)
    shutil.copy2(source / "drivers/base/base.h", common / "drivers/base/base.h")
    shutil.rmtree(source)


def _build(made: RustSupport, progress: Progress) -> None:
    """make in the copied headers: core, bindings, macros, kernel."""
    headers = made.headers
    write_file(headers / "include/config/auto.conf.cmd", b"", mode=0o644)
    for path in (*(headers / "include/config").glob("auto.conf*"), headers / "include/generated/autoconf.h"):
        path.touch()
    if (headers / "include/generated/rustc_cfg").exists():
        (headers / "include/generated/rustc_cfg").touch()
    goal = made.place / "kobox-rust.mk"
    goal.write_text(_GOAL)
    foreign = re.compile(r"MAKE.*|KBUILD.*|ARCH|CROSS_COMPILE|RUST.*|CARGO.*")
    environment = {name: value for name, value in os.environ.items() if not foreign.fullmatch(name)}
    environment |= {**made.environment, "MAKEFILES": str(goal)}
    words = ["make", "-C", str(headers), f"-j{os.cpu_count() or 1}", *made.variables, "kobox-rust"]
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=environment
    )
    said: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        said.append(line)
        progress("building the kernel's rust/", len(said), 0)
    if process.wait() or not (headers / "rust/libkernel.rmeta").exists():
        raise BuildError(
            "the kernel's rust/ could not be built",
            output="".join(said[-200:]),
            hint=f"make said: {said[-1].strip() if said else 'nothing'}",
        )
    goal.unlink()


def rust_headers(directory: Path, kernel: KernelImage, headers: Path) -> tuple[Path, list[str]]:
    """What to build a directory's modules against, and what make is told beside that: the kernel's headers, or those
    with Rust support where there are Rust sources.

    Raises `BuildError`, saying what is missing, for Rust sources that cannot be built for a kernel.
    """
    if not any(directory.glob("*.rs")):
        return headers, []
    config = headers / "include/config/auto.conf"
    if not config.is_file() or "CONFIG_RUST=y" not in config.read_text().splitlines():
        raise BuildError(
            f"{directory}: Rust sources, and kernel {kernel.name} is built without Rust (CONFIG_RUST is not set)",
            hint="Debian's kernels since 7.2 have it: `kobox kernel add debian/sid --rust`.",
        )
    support = RustSupport(kernel)
    if support.exists:
        return support.headers, support.variables
    metadata = headers / "rust/libkernel.rmeta"
    if not metadata.is_file():
        made = f"`kobox kernel add {kernel.name} --rust` makes it: {FETCHED} MB to fetch, {MINUTES} minutes, once."
        raise BuildError(
            f"{directory}: Rust sources, and the headers of {kernel.name} carry no Rust metadata: no {metadata}",
            hint=made if _ORIGIN.match(kernel.origin) else "A kernel tree built with CONFIG_RUST=y has it.",
        )
    if shutil.which("rustc") is None:
        raise BuildError("rustc is not installed, and building Rust sources takes it")
    return headers, []


def told_before(kernel: KernelImage) -> str:
    """What making the Rust support of a kernel takes, in one line."""
    version = _compiler_version(kernel)
    return (
        f"Rust for {kernel.name}: rustc {version} and the kernel's source, {FETCHED} MB to fetch, {KEPT} MB in the"
        f" cache, about {MINUTES} minutes, once"
    )
