"""The cache of kernels: one directory a kernel, complete or not there at all.

    ROOT/                              $XDG_CACHE_HOME/kobox
        default                        the name of the default kernel
        lock                           held (flock) by whoever adds or removes
        kernels/NAME/kernel.json       what the kernel is, with paths relative to NAME/ where they lie in it
        kernels/NAME/…                 vmlinuz, modules, headers
        kernels/NAME/snapshots/        booted states of it, kept by kobox.box.boot
        packages/SUITE/                packages of user space (kobox.images.debian.packages)
        toolchains/KEY/                compilers and libraries of other suites (kobox.images.debian.toolchain)
        staging/                       what is being put together; whatever lies here unlocked is left over
        apt/SUITE/                     package lists and finished downloads of a Debian suite
        files/DIGEST/                  the snapshots of kernel files that were named by path

A kernel is put together in staging/ and renamed into place; kernel.json is written first, so a directory of
kernels/ always has one. A lock dies with the process that holds it, so the next run cleans up after a killed one.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kobox.arch.registry import ARCHITECTURES
from kobox.atomic_file import write_file
from kobox.errors import FetchError, KernelImageError, KernelNotFoundError, KoboxError
from kobox.images.kernel_image import (
    KernelImage,
    Progress,
    default_root,
    facts_of,
    is_plain,
    kernel_from,
    natural,
)
from kobox.images.ownership import check_ownership

if TYPE_CHECKING:
    from kobox.images.remote.distributions import WantedKernel

_ADVICE = "`kobox kernel add debian` fetches one."
__all__ = ["KernelImage", "Progress", "Store", "default_root"]


class Store:
    """The kernels of one cache directory.

    >>> kernel = Store().ensure()                 # the default kernel, fetched if there is none
    >>> kernel.release                            # doctest: +SKIP
    '6.1.0-56-cloud-amd64'
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = Path(root) if root is not None else default_root()

    # ── asking ──────────────────────────────────────────────────────────────────────────────────────────────

    def list(self) -> list[KernelImage]:
        """Every kernel of the cache, by name in natural order (6.2 before 6.12)."""
        kernels = self.root / "kernels"
        try:
            names = [entry.name for entry in os.scandir(kernels) if entry.is_dir()]
        except FileNotFoundError:
            return []
        found = [self._read(kernels / name) for name in sorted(names, key=natural)]
        return [kernel for kernel in found if kernel is not None]

    def get(self, name: str | None = None) -> KernelImage:
        """One kernel: by name, by a beginning that only one has (6.1 is none of 6.12; of this
        machine's processor, if there is one of that), or by the path of an image file.

        None is the default kernel. Raises KernelNotFoundError; KernelImageError for a file that is no kernel.
        """
        if name is None:
            return self.default()
        if "/" in name:
            return self._from_file(Path(name))
        exact = self._read(self._place(name)) if is_plain(name) else None
        if exact is not None:
            return exact
        kernels = self.list()
        near = _meant(name, kernels)
        if len(near) == 1:
            return near[0]
        if near:
            choices = ", ".join(kernel.name for kernel in near)
            raise KernelNotFoundError(f"{name}: ambiguous: matches {choices}", hint="Give the whole name of one.")
        if Path(name).is_file():
            return self._from_file(Path(name))
        known = "The cache holds: " + ", ".join(kernel.name for kernel in kernels) + ". " if kernels else ""
        raise KernelNotFoundError(
            f"{name}: no such kernel in {self.root}",
            hint=f"{known}`kobox kernel add debian:{name}` fetches a kernel of Debian's.",
        )

    def default(self) -> KernelImage:
        """The kernel that is meant when none is named: KOBOX_KERNEL, else the one chosen, else the one added first.

        Raises KernelNotFoundError when the cache is empty, or KOBOX_KERNEL names none of it.
        """
        named = os.environ.get("KOBOX_KERNEL")
        if named:
            return self.get(named)
        with contextlib.suppress(FileNotFoundError):
            chosen = self._read(self._place((self.root / "default").read_text().strip() or "."))
            if chosen is not None:
                return chosen
        kernels = self.list()
        if not kernels:
            raise KernelNotFoundError(f"no kernel in {self.root}", hint=_ADVICE)
        return min(kernels, key=lambda kernel: (kernel.directory / "kernel.json").stat().st_mtime)

    def fitting(self, modules: Iterable[Path]) -> str | None:
        """The name of a kernel for the processor that module files were built for: the one that a file names, else the
        newest; None where the default kernel is for that processor, or no file says.

        Raises KernelNotFoundError when the cache has none.
        """
        for path in modules:
            processor = processor_of(path)
            if processor is None or (self.list() and self.default().architecture == processor):
                continue
            kernels = [kernel for kernel in self.list() if kernel.architecture == processor]
            if kernels:
                release = _release_of(path)
                return next((kernel.name for kernel in kernels if kernel.release == release), kernels[-1].name)
            known = {arch.name: arch.debian for arch in ARCHITECTURES}
            if processor not in known:
                raise KernelNotFoundError(
                    f"{path}: built for {processor}: no box has such a processor",
                    hint=f"Boxes have processors for {', '.join(arch.title for arch in ARCHITECTURES)}.",
                )
            raise KernelNotFoundError(
                f"{path}: built for {processor}, and {self.root} has no kernel for that",
                hint=f"`kobox kernel add debian:{known[processor]}` fetches one.",
            )
        return None

    # ── changing ────────────────────────────────────────────────────────────────────────────────────────────

    def ensure(self, name: str | None = None, progress: Progress | None = None) -> KernelImage:
        """As `get`, but an empty cache gets Debian's newest cloud kernel first when no kernel is named."""
        try:
            return self.get(name)
        except KernelNotFoundError:
            if name is not None or self.list():
                raise
        with self.locked(progress):
            kernels = self.list()  # another run may have added it while we waited
        return kernels[0] if kernels else self.add("debian", progress=progress)

    def add(
        self,
        spec: str,
        *,
        modules: Path | None = None,
        headers: Path | None = None,
        packages: Sequence[Path] = (),
        mirror: str = "",
        keyring: Path | None = None,
        progress: Progress | None = None,
    ) -> KernelImage:
        """Put a kernel into the cache and return it; one of the same name is replaced once the new one is whole.

        `spec` is `debian`, `debian:RELEASE`, `debian/SUITE`, `debian/SUITE:RELEASE`, `host`, or the path of a kernel
        image, with which `modules` and `headers` name its directories (they are used where they lie), or the path of
        a package or tarball (`kobox.images.package_file`), with which `packages` are the others of the same kernel; or
        a distribution's name (`fedora/41`, `kobox.images.remote`), with which `mirror` is an address or a directory,
        and `keyring` the file of the keys that its packages are signed with.
        Raises FetchError, KernelImageError, KernelNotFoundError.
        """
        progress = progress or (lambda stage, done, total: None)
        from_debian = re.fullmatch(r"debian(?:/([^:/]+))?(?::(.+))?", spec)
        with self.locked(progress), _storage_errors(self.root):
            if from_debian:
                if modules or headers:
                    raise KernelImageError(f"{spec}: Debian's kernels bring their own modules and headers")
                return self._add_debian(from_debian.group(1), from_debian.group(2), progress)
            if spec == "host":
                from kobox.images.host import host_kernel

                found = host_kernel()
                return self._add_file(
                    found.vmlinuz, modules or found.modules, headers or found.headers, "host", progress
                )
            path = Path(spec)
            if not path.is_file():
                from kobox.images.remote.distributions import DISTRIBUTIONS, wanted_kernel

                wanted = wanted_kernel(spec)
                if wanted is not None:
                    return self._add_named(wanted, mirror, keyring, progress)
                names = ", ".join(DISTRIBUTIONS)
                known = f"debian, debian:RELEASE, debian/SUITE, debian/SUITE:RELEASE, host, {names} (fedora/41)"
                raise KernelNotFoundError(
                    f"{spec}: no such file, and none of the sources kobox knows", hint=f"They are: {known}."
                )
            from kobox.images.package_file import is_package

            if packages or is_package(path):
                if modules or headers:
                    raise KernelImageError(f"{spec}: packages bring their own modules and headers")
                return self._add_packages([path, *packages], progress)
            return self._add_file(path, modules, headers, str(path.resolve()), progress)

    def add_build(self, tree: Path, progress: Progress | None = None) -> KernelImage:
        """Put a kernel into the cache out of the directory where it was built, which serves as its headers.

        Raises KernelImageError, FetchError.
        """
        from kobox.images.build_tree import copy_build
        from kobox.images.identify import digest

        say = progress or (lambda stage, done, total: None)
        with self.locked(progress), _storage_errors(self.root), self.staging() as staging:
            made = copy_build(tree, staging, say)
            return self._install(made._replace(digest=digest(made.vmlinuz)), staging)

    def add_pack(self, packed: bytes, progress: Progress | None = None) -> KernelImage:
        """Put a kernel into the cache that another cache has packed (`kobox.images.kernel_pack`).

        Raises KernelImageError, FetchError.
        """
        from kobox.images.kernel_pack import unpack_pack

        with self.locked(progress), _storage_errors(self.root), self.staging() as staging:
            return self._install(unpack_pack(packed, staging), staging)

    def set_default(self, name: str) -> KernelImage:
        """Choose the kernel that is meant when none is named; it must be in the cache."""
        kernel = self.get(name)
        if not (kernel.directory / "kernel.json").exists():
            raise KernelNotFoundError(f"{name}: not in the cache", hint=f"`kobox kernel add {name}` adds it.")
        with _storage_errors(self.root):
            write_file(self.root / "default", kernel.name.encode() + b"\n", mode=0o644)
        return kernel

    def remove(self, name: str) -> KernelImage:
        """Take a kernel out of the cache, its snapshots with it. Raises KernelNotFoundError."""
        from kobox.images.debian.toolchain import sweep_toolchains

        with self.locked(None):
            kernel = self.get(name)
            if not (kernel.directory / "kernel.json").exists():
                raise KernelNotFoundError(f"{name}: not in the cache")
            self._discard(kernel.directory)
            sweep_toolchains(self.root)
        return kernel

    # ── within ──────────────────────────────────────────────────────────────────────────────────────────────

    def _place(self, name: str) -> Path:
        return self.root / "kernels" / name

    def _read(self, directory: Path) -> KernelImage | None:
        """The kernel that a directory holds, or None when it holds none."""
        check_ownership(self.root, directory.parent, directory, directory / "kernel.json")
        try:
            facts = json.loads((directory / "kernel.json").read_bytes())
            return kernel_from(facts, directory)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise KernelImageError(
                f"{directory}/kernel.json: damaged: {error!r}", hint=f"Remove {directory} and add the kernel again."
            ) from error

    def _from_file(self, path: Path) -> KernelImage:
        from kobox.images.identify import digest, identify

        if not path.is_file():
            raise KernelNotFoundError(f"{path}: no such file", hint="Name a kernel of the cache or a kernel image.")
        path = path.resolve()
        for kernel in self.list():
            if kernel.vmlinuz == path:
                return kernel
        known, key = identify(path), digest(path)
        place = self.root / "files" / key[:32]
        return KernelImage(known.release, known.release, path, None, None, str(path), place, key, known.architecture)

    def _add_debian(self, suite: str | None, release: str | None, progress: Progress) -> KernelImage:
        from kobox.images.debian.archive import Archive
        from kobox.images.debian.kernels import fetch_kernel, find_kernel
        from kobox.images.debian.toolchain import sweep_toolchains
        from kobox.images.identify import digest

        port, release = _port_of(release)
        archive = Archive.of_suite(suite, self.root / "apt", port)
        archive.update(progress)
        packages = find_kernel(archive, release)
        old = self._read(self._place(packages.release))
        if old is not None and old.origin == packages.origin:
            progress("already there", 0, 0)
            return old
        with self.staging() as staging:
            made = fetch_kernel(archive, packages, staging, progress)
            facts = made._replace(directory=staging, digest=digest(made.vmlinuz))
            kernel = self._install(facts, staging)
        sweep_toolchains(self.root)
        archive.clean()
        return kernel

    def _add_named(self, wanted: WantedKernel, mirror: str, keyring: Path | None, progress: Progress) -> KernelImage:
        from kobox.images.identify import digest
        from kobox.images.package_file import unpack_kernel
        from kobox.images.remote.distributions import fetch_kernel_packages

        with self.staging() as downloads, self.staging() as staging:
            fetched = fetch_kernel_packages(wanted, downloads, progress, mirror=mirror, keyring=keyring)
            made = unpack_kernel(fetched.packages, staging, progress)
            facts = made._replace(origin=fetched.origin, directory=staging, digest=digest(made.vmlinuz))
            return self._install(facts, staging)

    def _add_packages(self, paths: Sequence[Path], progress: Progress) -> KernelImage:
        from kobox.images.identify import digest
        from kobox.images.package_file import unpack_kernel

        with self.staging() as staging:
            made = unpack_kernel(paths, staging, progress)
            return self._install(made._replace(directory=staging, digest=digest(made.vmlinuz)), staging)

    def _add_file(
        self, path: Path, modules: Path | None, headers: Path | None, origin: str, progress: Progress
    ) -> KernelImage:
        from kobox.images.identify import digest, identify

        progress("copying", 0, 0)
        known = identify(path)
        for what, directory, marks in (
            ("modules", modules, ("kernel", "modules.dep", "modules.order")),
            ("headers", headers, ("Makefile",)),
        ):
            if directory is not None and not any((directory / mark).exists() for mark in marks):
                raise KernelImageError(
                    f"{directory}: no {' or '.join(marks)} in it, so it is not the {what} directory of a kernel",
                    hint="--modules takes …/lib/modules/RELEASE, --headers what `make -C` takes (…/build).",
                )
        with self.staging() as staging:
            vmlinuz = staging / "vmlinuz"
            import shutil

            shutil.copyfile(path, vmlinuz)
            kernel = KernelImage(
                name=known.release,
                release=known.release,
                vmlinuz=vmlinuz,
                modules=modules.resolve() if modules else None,
                headers=headers.resolve() if headers else None,
                origin=origin,
                directory=staging,
                digest=digest(vmlinuz),
                architecture=known.architecture,
            )
            return self._install(kernel, staging)

    def _install(self, kernel: KernelImage, staging: Path) -> KernelImage:
        """Move a finished kernel from `staging` to its place."""
        if not is_plain(kernel.name):
            raise KernelImageError(f"{kernel.name!r}: a kernel of that release cannot be kept: not a file name")
        place = self._place(kernel.name)
        write_file(staging / "kernel.json", json.dumps(facts_of(kernel), indent=2).encode() + b"\n", mode=0o644)
        first = not self.list()
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.exists():
            self._discard(place)
        staging.rename(place)
        if first:
            write_file(self.root / "default", kernel.name.encode() + b"\n", mode=0o644)
        made = self._read(place)
        assert made is not None
        return made

    def _discard(self, directory: Path) -> None:
        """Make a directory vanish at once, then free what it held."""
        staging = self.root / "staging"
        staging.mkdir(parents=True, exist_ok=True)
        import shutil
        import tempfile

        doomed = Path(tempfile.mkdtemp(dir=staging, prefix="old-"))
        directory.rename(doomed / directory.name)
        shutil.rmtree(doomed, ignore_errors=True)

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        """A new directory of the cache, to be renamed into place; what is left of it goes. Hold the lock."""
        staging = self.root / "staging"
        staging.mkdir(parents=True, exist_ok=True)
        import shutil
        import tempfile

        directory = Path(tempfile.mkdtemp(dir=staging, prefix="new-"))
        directory.chmod(0o755)
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    @contextlib.contextmanager
    def locked(self, progress: Progress | None) -> Iterator[None]:
        """Hold the cache's lock, and sweep up what a killed run left."""
        with _storage_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if progress is not None:
                    progress("waiting for another kobox that is changing the cache", 0, 0)
                fcntl.flock(handle, fcntl.LOCK_EX)
            import shutil

            shutil.rmtree(self.root / "staging", ignore_errors=True)
            yield
        finally:
            os.close(handle)


def _meant(begin: str, kernels: list[KernelImage]) -> list[KernelImage]:
    """The kernels whose name begins so; those where it ends inside of a number only if there is no other, and those for
    another processor than this machine's likewise."""

    def within_a_number(name: str) -> bool:
        return begin[-1:].isdigit() and name[len(begin) :][:1].isdigit()

    near = [kernel for kernel in kernels if kernel.name.startswith(begin)]
    near = [kernel for kernel in near if not within_a_number(kernel.name)] or near
    return [kernel for kernel in near if kernel.architecture == os.uname().machine] or near


def _port_of(release: str | None) -> tuple[str, str | None]:
    """Which port of Debian a release or flavour is for, and the release; a port alone is its newest kernel.

    Raises KernelNotFoundError for a port whose processor no box has.
    """
    ports = [arch.debian for arch in ARCHITECTURES]
    if release is not None and release.rpartition("-")[2] in _OTHER_PORTS:
        raise KernelNotFoundError(
            f"{release}: no box has a processor of Debian's port {release.rpartition('-')[2]}",
            hint=f"Boxes have those of {', '.join(ports)}: `kobox kernel add debian:{ports[-1]}`.",
        )
    if release in ports:
        return release, None
    if release is not None and release.endswith("-armmp"):  # the flavour of armhf's kernels
        return "armhf", release
    found = next((port for port in ports if release is not None and release.endswith(f"-{port}")), ports[0])
    return found, release


# Ports of Debian that boxes have no processor for, and flavours of their kernels.
_OTHER_PORTS = frozenset(
    ("lpae", "armel", "rpi", "marvell", "i386", "686", "pae", "ppc64el", "powerpc64le", "s390x")
    + ("mips64el", "5kc", "loongson", "octeon", "loong64")
)


@contextlib.contextmanager
def _storage_errors(root: Path) -> Iterator[None]:
    """Turn what the file system refuses into a FetchError that names the cache."""
    try:
        yield
    except OSError as error:
        if isinstance(error, (FetchError, KernelImageError, KernelNotFoundError)):
            raise
        where = error.filename or root
        raise FetchError(
            f"{where}: {error.strerror or error}",
            hint=f"The cache is {root}; XDG_CACHE_HOME puts it elsewhere. Nothing half done was left in it.",
        ) from error


# e_machine of processors that Linux runs on, and boxes have not (include/uapi/linux/elf-em.h).
_OTHER_PROCESSORS = {
    3: "i386",
    8: "MIPS",
    20: "PowerPC",
    21: "64-bit PowerPC",
    22: "s390",
    243: "RISC-V",
}


def _release_of(path: Path) -> str:
    """The release that a module was built for, "" where it does not say."""
    from kobox.ko.modulefile import ModuleFile

    try:
        return ModuleFile(path).vermagic.release
    except (KoboxError, OSError, ValueError):
        return ""


def processor_of(path: Path) -> str | None:
    """The processor that an ELF file was built for: the name of an architecture, or words; None for any other file."""
    try:
        with path.open("rb") as file:
            head = file.read(20)
    except OSError:
        return None
    if len(head) < 20 or head[:4] != b"\x7fELF":
        return None
    big, wide = head[5] == 2, head[4] == 2
    machine = int.from_bytes(head[18:20], "big" if big else "little")
    word_of = {arch.name: arch.addresses.word for arch in ARCHITECTURES}
    name = next((arch.name for arch in ARCHITECTURES if arch.elf_machine == machine), "")
    if name and wide == (word_of[name] == 8) and not big:
        return name
    narrow = not wide and word_of.get(name, 8) == 8
    words = _OTHER_PROCESSORS.get(machine) or name or f"machine {machine} of ELF's list"
    return f"{words}{', big-endian' if big else ''}{', 32-bit' if narrow else ''}"
