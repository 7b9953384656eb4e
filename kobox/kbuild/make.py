"""Runs make in a build directory, and what it says with the paths that the user knows.

Kbuild does not run the rules of a module's own Makefile outside of its `ifneq ($(KERNELRELEASE),)`. A header that such
a rule makes is made by `make` by hand before it calls Kbuild, and here by `make_missing_headers`.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from kobox.errors import BuildError
from kobox.kbuild.shadow_tree import KBUILD_FILES, Mirror

Output = Callable[[str], None]
"""Called with each line that make and the compiler say, without its newline."""

# Variables of the caller's environment that would steer Kbuild elsewhere, such as those of a make around us.
_FOREIGN = re.compile(
    r"MAKE(FLAGS|LEVEL|FILES|OVERRIDES)|MFLAGS|[MOVCW]|MO|KBUILD_(OUTPUT|EXTMOD|EXTMOD_OUTPUT|SRC|EXTRA_SYMBOLS)"
    r"|(SUB)?ARCH|CROSS_COMPILE|KERNELRELEASE|src|obj|srctree|objtree"
)
# Said on every build and of no use: another compiler than the kernel's is fine, and so is another pahole.
_NOISE = (
    re.compile(r"warning: the (compiler|pahole version) differs from the one used to build the kernel"),
    re.compile(r"warning: pahole version differs from the one used to build the kernel"),
    re.compile(r"  The kernel was built (by|with): "),
    re.compile(r"  You are using: "),
    re.compile(r"Skipping BTF generation for .* due to unavailability of vmlinux"),
    re.compile(r"make(\[\d+\])?: (Entering|Leaving) directory "),
    re.compile(r"  BTF \[M\] "),
)
_RELATIVE = re.compile(r"(In file included from |\s+from |)([^\s:/][^\s:]*\.(?:c|h|S|rs)):")
_MISSING = re.compile(r"fatal error: (?:\S*/)?([\w.+-]+\.h): No such file|'(?:\S*/)?([\w.+-]+\.h)' file not found")
# What Makefiles call the kernel's build directory.
_KERNEL_DIRECTORIES = ("KDIR", "KERNELDIR", "KERNEL_DIR", "KBUILD_DIR", "KSRC", "KERNEL_SRC", "KDIR_PATH", "KERN_DIR")


def run_make(
    line: Sequence[str], mirror: Mirror, source: Path, *, verbose: bool = False, on_output: Output | None = None
) -> str:
    """Run a make command to its end and return what it said.

    `source` is what the user wants built, as they named it. Raises BuildError, with that output, when make fails.
    """
    environment = {name: value for name, value in os.environ.items() if not _FOREIGN.fullmatch(name)}
    environment["PWD"] = str(mirror.tree)  # $(PWD) in a Makefile means the module's directory, wherever make starts
    said: list[str] = []
    process = subprocess.Popen(
        line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
    )
    try:
        assert process.stdout is not None
        for raw in process.stdout:
            text = raw.decode(errors="replace").rstrip("\n")
            if not verbose and any(noise.match(text) for noise in _NOISE):
                continue
            text = _as_the_user_knows(text, mirror, source)
            said.append(text)
            if on_output is not None:
                on_output(text)
        status = process.wait()
    finally:
        if process.poll() is None:  # interrupted
            process.terminate()
            process.wait()
    output = "\n".join(said)
    if status:
        raise BuildError(f"{source}: the module could not be built (make ended with {status})", output=output)
    return output


def make_missing_headers(
    output: str, headers: Path, mirror: Mirror, source: Path, *, on_output: Output | None = None
) -> bool:
    """Run the rules of the module's own Makefile for headers that a failed build did not find.

    Returns whether there was a rule for one. Raises BuildError when it fails.
    """
    names = dict.fromkeys(first or second for first, second in _MISSING.findall(output.translate(_QUOTES)))
    texts = [path.read_text(errors="replace") for name in KBUILD_FILES if (path := mirror.source / name).is_file()]
    rules = [name for name in names for text in texts if re.search(rf"^{re.escape(name)}\s*:(?!=)", text, re.MULTILINE)]
    if not rules:
        return False
    line = [
        "make",
        "--no-print-directory",
        "-C",
        str(mirror.tree),
        *(f"{name}={headers}" for name in _KERNEL_DIRECTORIES),
    ]
    run_make([*line, *rules], mirror, source, on_output=on_output)
    return True


_QUOTES = str.maketrans(dict.fromkeys("\u2018\u2019", "'"))


def _as_the_user_knows(text: str, mirror: Mirror, source: Path) -> str:
    shown = source if source.is_dir() else source.parent
    prefix = "" if shown == Path() else f"{shown}/"
    # Newer Kbuild changes into the build directory, and the compiler's file names are then relative to that.
    relative = _RELATIVE.match(text)
    if relative and (mirror.tree / relative.group(2)).exists():
        return f"{relative.group(1)}{prefix}{text[relative.start(2) :]}"
    return text.replace(f"{mirror.tree}/", prefix).replace(str(mirror.tree), str(shown))
