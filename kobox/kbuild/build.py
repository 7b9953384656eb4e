"""Builds external modules with Kbuild (Documentation/kbuild/modules.rst) against the headers of a cached kernel.

    make -C HEADERS M=BUILD_DIRECTORY modules

The build directory mirrors the source directory by links (`kobox.kbuild.shadow_tree`), so the user's directory gets the
finished `.ko` files and nothing else, and each kernel has its own objects. Sources without a Makefile or Kbuild get
a Kbuild there.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kobox.atomic_file import atomic_file
from kobox.errors import BuildError, KoboxError
from kobox.images.store import KernelImage, Store, default_root
from kobox.kbuild.bpf_build import SUFFIX, bpf_sources, build_bpf
from kobox.kbuild.compile_commands import write_compile_commands
from kobox.kbuild.make import Output, make_missing_headers, run_make
from kobox.kbuild.module_btf import add_btf
from kobox.kbuild.rust import rust_headers
from kobox.kbuild.shadow_tree import KBUILD_FILES, Mirror

_MODULE = re.compile(r"^\s*(?:kernel::)?module(_\w+)?! *[{(]", re.MULTILINE)  # of Rust
_NOTED = 40  # lines of the output that a traceback shows
_PACKAGES = {"apt-get": "apt-get install", "dnf": "dnf install", "pacman": "pacman -S", "zypper": "zypper install"}


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How to build. `warnings` is Kbuild's W= ("1", "2", "3", "e" or several), `sparse` runs it over every file,
    `clang` takes LLVM's tools, `extra_symbols` are Module.symvers files of modules that this one uses,
    `reproducible` keeps this machine's paths out of the result, `compile_commands` writes compile_commands.json beside
    the source, `verbose` shows whole commands, `fresh` compiles everything again. `btf` puts type information into the
    modules (`kobox.kbuild.module_btf`); where eBPF programs stand beside a module's source, it is there without asking.
    """

    warnings: str = ""
    sparse: bool = False
    clang: bool = False
    extra_symbols: tuple[Path, ...] = ()
    reproducible: bool = False
    compile_commands: bool = False
    verbose: bool = False
    jobs: int = 0
    fresh: bool = False
    btf: bool = False


@dataclass(frozen=True, slots=True)
class BuiltModules:
    """What a build made: the `.ko` files for one kernel, in the order of modules.order, and its eBPF `programs`.

    `symvers` is the Module.symvers with what they export, `directory` the build directory, `output` all that was said,
    `hints` a paragraph for each warning that is known.
    """

    kernel: KernelImage
    modules: tuple[Path, ...]
    symvers: Path
    directory: Path
    output: str
    seconds: float
    hints: tuple[str, ...] = ()
    programs: tuple[Path, ...] = ()

    def __iter__(self) -> Iterator[Path]:
        return iter((*self.modules, *self.programs))

    def __len__(self) -> int:
        return len(self.modules) + len(self.programs)


def build(
    source: Path,
    kernel: KernelImage | None = None,
    *,
    output: Path | None = None,
    options: BuildOptions = BuildOptions(),
    on_output: Output | None = None,
    builds: Path | None = None,
) -> BuiltModules:
    """Build the modules of a directory, or of one source file, for a kernel (None: the default one), and the eBPF
    programs (`.bpf.c`) there.

    The `.ko` and `.bpf.o` files are put into `output` (None: where the source is). `builds` is where build directories
    are kept (None: the cache). Raises BuildError, with all that make and the compiler said in its `output`.

    >>> from kobox.images.store import Store
    >>> list(build(Path("hello"), Store().get()))                                   # doctest: +SKIP
    [PosixPath('hello/hello.ko')]
    """
    source = Path(source)
    kernel = kernel or Store().ensure()
    programs = bpf_sources(source)
    if programs and not _has_modules(source):
        return _programs(programs, kernel, output, on_output)
    directory, written = what_to_build(source)
    headers = usable_headers(kernel)
    headers, rust = rust_headers(directory, kernel, headers)
    check_tools(options, own_compiler=(kernel.directory / "toolchain/bin/gcc").exists())
    purpose = "\0".join((kernel.name, kernel.digest, "clang" if options.clang else "gcc"))
    alone = "" if source.is_dir() else source.name
    mirror = Mirror.of(directory, purpose, builds or default_root() / "builds", alone)
    check_path(mirror.tree)
    started = time.monotonic()
    with mirror.held():
        mirror.refresh(written)
        if options.fresh:
            mirror.forget_objects()
        try:
            said = _made([*command(headers, mirror, options), *rust], headers, mirror, source, options, on_output)
        except BuildError as error:
            raise _advised(error, kernel, source) from None
        made = _finished(mirror.tree)
        if not made:
            raise BuildError(
                f"{source}: nothing was built", output=said, hint="Its Makefile or Kbuild names no module in obj-m."
            )
        target = output if output is not None else directory
        modules = _with_btf(made, kernel, target) if options.btf or programs else _delivered(made, target)
        if options.compile_commands:
            write_compile_commands(mirror, headers, directory)
    symvers = mirror.tree / "Module.symvers"
    seconds = time.monotonic() - started
    built = BuiltModules(kernel, modules, symvers, mirror.tree, said, seconds, _hints(said, kernel, source))
    if not programs:
        return built
    more = _programs(programs, kernel, output, on_output)
    return replace(built, programs=more.programs, output=said + more.output, seconds=seconds + more.seconds)


def _delivered(made: Sequence[Path], target: Path) -> tuple[Path, ...]:
    return tuple(_deliver(ko, target) for ko in made)


def _with_btf(made: Sequence[Path], kernel: KernelImage, target: Path) -> tuple[Path, ...]:
    with tempfile.TemporaryDirectory(prefix="kobox-") as room:
        return _delivered(add_btf(made, kernel, Path(room)), target)


def _has_modules(source: Path) -> bool:
    """Whether there is something for Kbuild beside eBPF programs."""
    if not source.is_dir():
        return False
    others = [*source.glob("*.c"), *source.glob("*.rs")]
    return any((source / name).is_file() for name in KBUILD_FILES) or any(
        not path.name.endswith(SUFFIX) for path in others
    )


def _programs(
    sources: Sequence[Path], kernel: KernelImage, output: Path | None, on_output: Output | None
) -> BuiltModules:
    started = time.monotonic()
    tell = on_output or (lambda line: None)
    try:
        made, said = build_bpf(sources, kernel, output)
    except BuildError as error:
        for line in error.output.splitlines():
            tell(line)
        raise
    for line in said.splitlines():
        tell(line)
    directory = sources[0].parent
    seconds = time.monotonic() - started
    return BuiltModules(kernel, (), directory / "Module.symvers", directory, said, seconds, programs=tuple(made))


def _hints(said: str, kernel: KernelImage, source: Path) -> tuple[str, ...]:
    """Help for the warnings of a build that has succeeded."""
    from kobox.kbuild.hints.advice import warning_advice

    return tuple(warning_advice(said, kernel, source))


def _made(
    line: Sequence[str], headers: Path, mirror: Mirror, source: Path, options: BuildOptions, on_output: Output | None
) -> str:
    """What make said of a build, with headers of the module's own made on the way."""
    try:
        return run_make(line, mirror, source, verbose=options.verbose, on_output=on_output)
    except BuildError as error:
        if not make_missing_headers(error.output, headers, mirror, source, on_output=on_output):
            raise
    return run_make(line, mirror, source, verbose=options.verbose, on_output=on_output)


def build_each(
    source: Path,
    kernels: Sequence[KernelImage],
    *,
    output: Path,
    options: BuildOptions = BuildOptions(),
    builds: Path | None = None,
    at_once: int = 2,
) -> Iterator[tuple[KernelImage, BuiltModules | BuildError]]:
    """Build for several kernels, `at_once` at a time, each into `output`/NAME; in the order of `kernels`, as they come.

    One that fails does not keep the others from being built.
    """
    from concurrent.futures import ThreadPoolExecutor

    cpus = os.cpu_count() or 1
    each = options if options.jobs else replace(options, jobs=max(1, cpus // at_once))

    def one(kernel: KernelImage) -> BuiltModules | BuildError:
        try:
            return build(source, kernel, output=output / kernel.name, options=each, builds=builds)
        except BuildError as error:
            return error

    with ThreadPoolExecutor(at_once) as pool:
        yield from zip(kernels, pool.map(one, kernels), strict=True)


def _advised(error: BuildError, kernel: KernelImage, source: Path) -> BuildError:
    """The error, with help for the mistakes that are known; in a traceback it shows the end of the output as well."""
    from kobox.kbuild.hints.advice import advice

    try:
        others = [other for other in Store().list() if other.architecture == kernel.architecture]
    except KoboxError:  # a damaged cache is not what this is about
        others = []
    hint = "\n".join(advice(error.output, kernel, source, others))
    advised = BuildError(error.message, output=error.output, hint=hint)
    advised.add_note("\n".join(error.output.splitlines()[-_NOTED:]))
    return advised


def clean(source: Path, builds: Path | None = None) -> int:
    """Forget what was built of a source, for every kernel; returns how many build directories that were."""
    directory = (source if source.is_dir() else source.parent).resolve()
    rooms = builds or default_root() / "builds"
    doomed = [path.parent for path in rooms.glob("*/source") if path.read_text().split("\n")[0] == str(directory)]
    for room in doomed:
        shutil.rmtree(room, ignore_errors=True)
    return len(doomed)


def what_to_build(source: Path) -> tuple[Path, dict[str, str]]:
    """The directory to mirror, and the files to write into the mirror.

    Raises BuildError when there is nothing that could become a module.
    """
    if source.is_dir():
        if any((source / name).is_file() for name in KBUILD_FILES):
            return source, {}
        return source, {"Kbuild": kbuild_for(source)}
    if not source.exists():
        raise BuildError(f"{source}: no such file or directory")
    if source.suffix not in (".c", ".rs"):
        raise BuildError(f"{source}: not a source file in C or Rust", hint="Give a directory, or the file of a module.")
    directory = source.parent
    return directory, {"Kbuild": f"obj-m := {source.stem}.o\n", **dict.fromkeys(_hidden(directory), "")}


def kbuild_for(directory: Path) -> str:
    """A Kbuild for a directory of bare `.c` files: each that has a MODULE_LICENSE is a module.

    With just one such file among several, they all make one module, named after the directory.
    Raises BuildError where that is no answer.
    """
    texts = {
        path: path.read_text(errors="replace")
        for path in sorted(directory.glob("*.c"))
        if ".mod" not in path.name and not path.name.endswith(SUFFIX)
    }
    sources = {path: text for path, text in texts.items() if not re.search(r"^\s*int\s+main\s*\(", text, re.MULTILINE)}
    if not sources and (rust := [path for path in sorted(directory.glob("*.rs")) if _MODULE.search(path.read_text())]):
        return "".join(f"obj-m += {path.stem}.o\n" for path in rust)
    if not sources:
        raise BuildError(
            f"{directory}: no Makefile, no Kbuild and no C source of a module in it",
            hint="`kobox new hello NAME` writes a first module.",
        )
    modules = [path for path, text in sources.items() if "MODULE_LICENSE" in text] or list(sources)
    others = [path for path in sources if path not in modules]
    if not others:
        return "".join(f"obj-m += {path.stem}.o\n" for path in modules)
    if len(modules) > 1:
        raise BuildError(
            f"{directory}: cannot tell which module {', '.join(path.name for path in others)} belongs to",
            hint=f"Write a Kbuild, such as: obj-m := {modules[0].stem}.o",
        )
    name = re.sub(r"[^A-Za-z0-9_-]", "_", directory.resolve().name)
    if name in [path.stem for path in sources]:
        name += "_module"  # an object cannot be linked into a module of its own name
    objects = " ".join(f"{path.stem}.o" for path in sources)
    return f"obj-m := {name}.o\n{name}-objs := {objects}\n"


def usable_headers(kernel: KernelImage) -> Path:
    """The kernel's Kbuild output directory. Raises BuildError when it has none."""
    if kernel.headers is not None and (kernel.headers / "Makefile").is_file():
        return kernel.headers
    gone = f": {kernel.headers} is gone" if kernel.headers is not None else ""
    if kernel.origin == "host":
        hint = f"Install them (Debian: apt-get install linux-headers-{kernel.release}), then `kobox kernel add host`."
    else:
        hint = f"`kobox kernel add` with --headers DIR, or debian:{kernel.release}, brings them."
    raise BuildError(f"kernel {kernel.name} has no headers to build against{gone}", hint=hint)


def check_tools(options: BuildOptions, *, own_compiler: bool = False) -> None:
    """Raise a BuildError of one line for the first tool that is missing; some kernels bring a compiler along."""
    needed = [("make", "make")]
    if options.clang:
        needed += [("clang", "clang"), ("ld.lld", "lld"), ("llvm-objcopy", "llvm")]
    elif not own_compiler:
        needed += [("gcc", "gcc"), ("ld", "binutils")]
    if options.sparse:
        needed.append(("sparse", "sparse"))
    for tool, package in needed:
        if shutil.which(tool) is None:
            raise BuildError(f"{tool} is not installed, and building a module takes it: {_installer()} {package}")


def _installer() -> str:
    """What installs a package on this machine."""
    return next((text for name, text in _PACKAGES.items() if shutil.which(name)), "install")


def check_path(tree: Path) -> None:
    """Raise BuildError for a build directory whose path Kbuild cannot stand."""
    if re.search(r"[\s:#$%]", str(tree)):
        raise BuildError(
            f"{tree}: make cannot build in a directory whose path has spaces, colons, # or $ in it",
            hint="Set XDG_CACHE_HOME to another directory.",
        )


def command(headers: Path, mirror: Mirror, options: BuildOptions) -> list[str]:
    """The make command of a build."""
    jobs = options.jobs or os.cpu_count() or 1
    line = ["make", "--no-print-directory", f"-j{jobs}", "-C", str(headers), f"M={mirror.tree}"]
    maps = {mirror.tree: "." if options.reproducible else str(mirror.source)}
    if options.reproducible:
        maps[headers.resolve().parent] = "/usr/src"
    flags = [f"-ffile-prefix-map={old}={new}" for old, new in maps.items() if not re.search(r"[\s'\"$#\\=]", f"{new}")]
    line.append("KCFLAGS=" + " ".join([*filter(None, [os.environ.get("KCFLAGS", "")]), *flags]))
    if options.warnings:
        line.append(f"W={options.warnings}")
    if options.sparse:
        line.append("C=2")
    if options.clang:
        line += ["LLVM=1", "CC=clang"]
    symbols = [*(path.resolve() for path in options.extra_symbols), *mirror.neighbours()]
    if symbols:
        line.append("KBUILD_EXTRA_SYMBOLS=" + " ".join(map(str, symbols)))
    if options.verbose:
        line.append("V=1")
    return [*line, "modules"]


def _finished(tree: Path) -> list[Path]:
    """The modules of a build. modules.order names them as .o or .ko, by absolute path or from the build directory."""
    try:
        lines = (tree / "modules.order").read_text().split()
    except FileNotFoundError:
        return []
    return [tree / Path(line).with_suffix(".ko") for line in lines]


def _deliver(ko: Path, target: Path) -> Path:
    """Copy a module to where it is wanted, whole or not at all."""
    target.mkdir(parents=True, exist_ok=True)
    place = target / ko.name
    with ko.open("rb") as read, atomic_file(place, mode=0o644) as file:
        shutil.copyfileobj(read, file)
    return place


def _hidden(directory: Path) -> list[str]:
    """The Kbuild files of a directory that must not be seen when one of its files is built alone."""
    return [name for name in KBUILD_FILES if name != "Kbuild" and (directory / name).exists()]
