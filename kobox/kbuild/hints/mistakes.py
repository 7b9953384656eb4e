"""Mistakes that have nothing to do with the kernel's release: what the compiler, the linker and modpost say of them.

modpost's messages come from scripts/mod/modpost.c, those about parameters from VERIFY_OCTAL_PERMISSIONS
(include/linux/sysfs.h).
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from kobox.images.exports import KernelExports
from kobox.images.kernel_config import read_config
from kobox.images.kernel_image import KernelImage
from kobox.kbuild.hints.changes import changes_of
from kobox.kbuild.hints.headers import KernelHeaders
from kobox.kbuild.shadow_tree import repository

_FLOATING_POINT = (
    "Floating point: kernel code is compiled without the processor's registers for it. Compute with integers (scaled, "
    "such as thousandths); or put the code into a file of its own with CFLAGS_FILE.o += $(CC_FLAGS_FPU), and call it "
    "between kernel_fpu_begin() and kernel_fpu_end()."
)
# A pattern over the output (with ASCII quotation marks), and the help: of modpost's messages, and of others.
_MODPOST = (
    (
        r"missing MODULE_LICENSE\(\) in (?:\S*/)?(?P<file>[\w.-]+)\.o",
        'MODULE_LICENSE is missing in {file}: add MODULE_LICENSE("GPL"), or the licence that it really has.',
    ),
    (
        r"sizeof\(struct (?P<struct>\w+)\)=\d+ is not a modulo of the size of section",
        "modpost takes struct {struct} for that of a 64-bit kernel. For kernels of 32 bits kobox runs Debian's modpost "
        "for i386, if this machine starts programs for i386 (CONFIG_IA32_EMULATION): remove the kernel, add it again.",
    ),
    (
        r"GPL-incompatible module (?:\S*/)?(?P<file>[\w.-]+)\.ko uses GPL-only symbol '(?P<symbol>\w+)'",
        "{symbol} is EXPORT_SYMBOL_GPL: only a module with a GPL-compatible MODULE_LICENSE may use it.",
    ),
    (
        r"module (?P<file>[\w.-]+) uses symbol (?P<symbol>\w+) from namespace (?P<namespace>\w+), but does not import",
        '{symbol} is in a symbol namespace: add MODULE_IMPORT_NS("{namespace}"), up to 6.12 without the quotes.',
    ),
)
_COMPILER = (
    (
        r"SSE register (return|argument) with SSE disabled|x87 register return with x87 disabled",
        _FLOATING_POINT,
    ),
    (r'"__(?:float|fix)\w*" \[|"__(?:add|sub|mul|div|lt|gt|eq|ne|le|ge)[sdx]f[23]" \[', _FLOATING_POINT),
    (r'"__aeabi_(?:[df](?:add|sub|mul|div|cmp\w*)|[df]2u?[il]z|u?[il]2[df]|d2f|f2d)" \[', _FLOATING_POINT),
    (
        r'"__u?(?:div|mod|divmod)di[34]" \[|"__aeabi_u?ldivmod" \[',
        "64-bit division on a 32-bit kernel: use div_u64(), div_s64() or do_div() of <linux/math64.h>.",
    ),
    (
        r"\(\((?P<mode>0\d+)\) & 2\)|\((?P<mode2>0\d+)\) & 2 is true",
        "{mode}{mode2} is a world-writable permission, which the kernel refuses: everybody could change it. Use 0644 "
        "(root writes, everybody reads) or 0600.",
    ),
    (
        r"negative width in bit-field '<anonymous>'[\s\S]{0,2000}?VERIFY_OCTAL_PERMISSIONS",
        "The permissions of a parameter or attribute are refused: they are octal (0644), not world-writable (0666), "
        "and give group and others no more than the owner has.",
    ),
    (
        r"multiple definition of `?'?(?P<symbol>init_module|cleanup_module)'?[\s\S]*?first defined here",
        "Two files of one module have a module_init() or module_exit(): a module has one of each. Call the second from "
        "the first, or build two modules: obj-m := a.o b.o.",
    ),
    (
        r"multiple definition of `?'?(?!init_module|cleanup_module)(?P<symbol>\w+)'",
        "{symbol} is defined in two files of the module: make it static, or declare it extern in a header.",
    ),
    (
        r"No space left on device",
        "The disk is full: free some space, or set XDG_CACHE_HOME to a directory on another disk.",
    ),
)
_SECTION = (
    "{user} stays in memory and uses {used}, which is freed after init (__init, __initdata), or is not there when the "
    "module cannot be unloaded (__exit): take that mark off {used}, or give {user} the same one."
)
# The same for warnings, which do not end a build.
_WARNED = (
    (
        r"ignoring return value of '(?P<symbol>copy_(?:to|from)_user|get_user|put_user|clear_user)'",
        "{symbol}() returns something else than 0 where user memory cannot be reached: "
        "if ({symbol}(…)) return -EFAULT;",
    ),
    (
        r"ignoring return value of '(?P<symbol>kstrto\w+|device_create_file|sysfs_create_\w+|driver_register)'",
        "{symbol}() may fail: return its error, or stop there.",
    ),
    (
        r"section mismatch in reference: (?P<user>[\w.]+)(?:\+0x\w+)? \(section: [^)]*\) -> (?P<used>[\w.]+)",
        _SECTION,
    ),
    (
        r"Section mismatch in reference from the \w+ (?P<user>[\w.]+)\S* to the \w+ (?:[\w.]+:)?(?P<used>\w+)",
        _SECTION,
    ),
    (
        r"the frame size of (?P<size>\d+) bytes is larger than",
        "A function needs {size} bytes of the kernel's stack, which has 16 KiB for all calls together: allocate large "
        "arrays with kmalloc().",
    ),
    (
        r"no previous prototype for '(?P<symbol>\w+)'",
        "{symbol}() is used in this file only: make it static; else declare it in a header.",
    ),
    (
        r"missing MODULE_DESCRIPTION\(\) in (?:\S*/)?(?P<file>[\w.-]+)\.o",
        'MODULE_DESCRIPTION is missing in {file}: add MODULE_DESCRIPTION("…").',
    ),
    (
        r"ISO C90 forbids mixed declarations and code",
        "Kernels before 5.18 are C90: declare variables at the beginning of a block.",
    ),
    (
        r"ISO C90 forbids variable length array '(?P<symbol>\w+)'",
        "{symbol}: the kernel's stack is small, so arrays have a constant length: use kmalloc().",
    ),
)
# Options of gcc that clang does not have, or a newer clang's.
_NOT_CLANG_S = re.compile(r"clang: error: (unknown argument|unsupported (option|argument))")
_UNDEFINED = re.compile(r'"(?P<symbol>\w+)" \[(?:\S*/)?(?P<file>[\w.-]+)\.ko\] undefined')
_LARGEST = 4 << 20
_MOST_FILES = 2000  # that are read for the one that exports a symbol
_ARITHMETIC = re.compile(
    r"__(float|fix)\w*|__(add|sub|mul|div|lt|gt|eq|ne|le|ge)[sdx]f[23]|__u?(div|mod|divmod)di[34]"
    r"|__aeabi_(u?ldivmod|[df](add|sub|mul|div|cmp\w*)|[df]2u?[il]z|u?[il]2[df]|d2f|f2d)"
)


def mistakes(
    text: str, exports: KernelExports, others: Sequence[KernelImage], source: Path | None = None
) -> Iterator[str]:
    """A paragraph for each known mistake in a build's output (with ASCII quotation marks) of `source`."""
    if _NOT_CLANG_S.search(text):
        yield _compiler(exports.kernel)
    yield from _matching(_MODPOST, text)
    yield from compiler_mistakes(text)
    for match in _UNDEFINED.finditer(text):
        if not _ARITHMETIC.fullmatch(match["symbol"]):
            near = _exporter(match["symbol"], source) if source is not None else None
            if near is not None:
                yield (
                    f"{match['symbol']} is exported by {near}: build that first (kobox build {near.parent}), and its "
                    "Module.symvers is found; or name its Module.symvers with --extra-symbols."
                )
            else:
                yield "\n".join(_undefined(match["symbol"], match["file"], exports, others))


def warned(text: str) -> Iterator[str]:
    """A paragraph for each known warning of the compiler or modpost."""
    yield from _matching(_WARNED, text)


def compiler_mistakes(text: str) -> Iterator[str]:
    """A paragraph for each known message of the compiler and the linker, whatever the kernel."""
    yield from _matching(_COMPILER, text)


def _matching(patterns: Sequence[tuple[str, str]], text: str) -> Iterator[str]:
    for pattern, help_ in patterns:
        for match in re.finditer(pattern, text):
            yield help_.format(**{name: value or "" for name, value in match.groupdict().items()})


def _compiler(kernel: KernelImage) -> str:
    config = kernel.headers / "include/config/auto.conf" if kernel.headers else None
    if config is not None and config.is_file() and "\nCONFIG_CC_IS_CLANG=y\n" in config.read_text():
        return f"{kernel.name} was built with a newer clang, whose options this one does not have."
    return f"{kernel.name} was built with gcc, and its headers hand gcc's options to the compiler: leave out --clang."


def _undefined(symbol: str, file: str, exports: KernelExports, others: Sequence[KernelImage]) -> Iterator[str]:
    """Why modpost does not find a symbol: no longer exported, never exported, option off, another module's."""
    kernel = exports.kernel
    known = [row for row in changes_of(symbol) if row.kind in ("gone", "unexported")]
    for row in known:
        yield from row.lines()
    elsewhere = {other.name: KernelExports(other).table.get(symbol) for other in others if other.headers}
    having = {name: found for name, found in elsewhere.items() if found is not None}
    headers = KernelHeaders(kernel)
    declared = headers.any(symbol)
    if having:
        owners = ", ".join(f"{name} ({found.owner})" for name, found in having.items())
        yield f"{symbol} is exported by {owners}, and by nothing of {kernel.name}."
    if known:
        return
    option = headers.condition(symbol) if declared else ""
    if option:
        off = option.removeprefix("CONFIG_") not in read_config(kernel)
        yield f"{symbol} comes with {option}, which {kernel.name} is built {'without' if off else 'with'}."
        if off and "-cloud-" in kernel.name:
            yield f"Cloud kernels leave drivers out: {kernel.name.replace('-cloud', '')} may have it."
    elif having and _release(kernel.name) in {_release(name) for name in having}:
        yield f"Build for that flavour, or load the module on it: an option is off in {kernel.name}."
    elif declared is not None:
        where = f"<{declared.header}> declares {symbol}"
        yield f"{where}, and {kernel.name} does not export it to modules: use another function of that header."
    elif not having:
        near = [name for name in exports.near(symbol) if name != symbol]
        meant = f" Did you mean {near[0]}?" if near else ""
        yield (
            f"{symbol} is exported by nothing that {file} is built with: add the file that defines it to {file}-objs, "
            f"or give another module's Module.symvers with --extra-symbols.{meant}"
        )


def _exporter(symbol: str, source: Path) -> Path | None:
    """The C file that exports a symbol, of those beside a source or in its repository."""
    directory = (source if source.is_dir() else source.parent).resolve()
    around = repository(directory) or directory.parent
    pattern = re.compile(rf"\bEXPORT_SYMBOL\w*\(\s*{symbol}\s*[,)]")
    files = itertools.chain(around.glob("*/*.c"), around.glob("*/*/*.c"))
    try:
        for path in itertools.islice(files, _MOST_FILES):
            if path.is_relative_to(directory) or path.stat().st_size > _LARGEST:
                continue
            if pattern.search(path.read_text(errors="replace")):
                return Path(os.path.relpath(path))
    except OSError:  # a directory or file that is not ours, or vanishes meanwhile
        return None
    return None


def _release(name: str) -> str:
    """A kernel's name without its flavour: 6.1.0-56-cloud-amd64 and 6.1.0-56-amd64 are one release."""
    return re.sub(r"(-cloud|-rt)?-[a-z]+\w*$", "", name)
