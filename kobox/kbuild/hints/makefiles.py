"""Mistakes in a module's Makefile or Kbuild, and sources that belong to user space.

Sources: Documentation/kbuild/makefiles.rst and modules.rst; GNU make's messages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from kobox.images.kernel_image import KernelImage
from kobox.kbuild.hints.headers import KernelHeaders
from kobox.kbuild.shadow_tree import KBUILD_FILES

# A header of user space, and what the kernel has in its place.
_USER_SPACE = {
    "stdio.h": "pr_info() and its kin of <linux/printk.h>",
    "stdlib.h": "kmalloc() and kfree() of <linux/slab.h>, kstrtoint() of <linux/kernel.h>",
    "string.h": "<linux/string.h>",
    "strings.h": "<linux/string.h>",
    "stdint.h": "<linux/types.h>",
    "inttypes.h": "<linux/types.h>",
    "stdbool.h": "<linux/types.h>",
    "stddef.h": "<linux/stddef.h>",
    "stdarg.h": "<linux/stdarg.h>, up to 5.14 <stdarg.h>",
    "limits.h": "<linux/limits.h>",
    "errno.h": "<linux/errno.h>",
    "ctype.h": "<linux/ctype.h>",
    "assert.h": "WARN_ON() of <linux/bug.h>, or static_assert()",
    "math.h": "integer arithmetic, <linux/math64.h>: the kernel has no floating point",
    "time.h": "<linux/ktime.h> and <linux/timekeeping.h>",
    "sys/time.h": "<linux/ktime.h> and <linux/timekeeping.h>",
    "signal.h": "<linux/sched/signal.h>",
    "unistd.h": "msleep() of <linux/delay.h>, and the functions behind the system calls",
    "fcntl.h": "<linux/fcntl.h>",
    "pthread.h": "<linux/kthread.h> and <linux/mutex.h>",
    "semaphore.h": "<linux/semaphore.h>",
    "sys/types.h": "<linux/types.h>",
    "sys/stat.h": "<linux/stat.h>",
    "sys/ioctl.h": "<linux/ioctl.h>",
    "sys/mman.h": "<linux/mm.h>",
    "sys/socket.h": "<linux/socket.h>",
    "sys/syscall.h": "the functions behind the system calls",
    "netinet/in.h": "<linux/in.h>",
    "arpa/inet.h": "<linux/inet.h>",
    "poll.h": "<linux/poll.h>",
}
_ERROR_LINE = re.compile(r"^(?P<file>[^\s:]+):(?P<line>\d+):\d+: error: ", re.MULTILINE)
_STRAY = re.compile(
    r"(?P<file>[^:\n]+):(?P<line>\d+):(?:\d+:)? error: "
    r"(stray '\\\d+'|extended character|unexpected character|source file is not valid UTF-8)"
)
_TYPOGRAPHIC = re.compile("[\u2018\u2019\u201c\u201d]")
_NO_RULE = re.compile(r"No rule to make target '(?:\S*/)?(?P<name>[\w.+-]+)\.o'")
_SEPARATOR = re.compile(r"(?P<file>[^\s:]*(?:Makefile|Kbuild|makefile)\S*):(?P<line>\d+): \*\*\* missing separator")
_MISSING = re.compile(r"(?:fatal error: |error: '?)(?P<name>[\w./+-]+\.h)'?(?:: No such file| file not found)")
_COMPOSITE = re.compile(r"^\s*([\w.+-]+)-(?:objs|y)\s*[:+]?=(.*)$", re.MULTILINE)


def makefile_advice(text: str, source: Path, kernel: KernelImage) -> Iterator[str]:
    """A paragraph for each mistake that the output (with ASCII quotation marks) and the Makefile show."""
    directory = source if source.is_dir() else source.parent
    yield from _separators(text, directory)
    yield from _strays(text)
    yield from _from_a_page(text)
    yield from user_space_headers(text)
    for path in [directory / name for name in KBUILD_FILES]:
        if path.is_file() and source.is_dir():
            yield from _written(path, path.read_text(errors="replace"), text, kernel)
    for match in _NO_RULE.finditer(text):
        yield (
            f"{match['name']}.o is asked for, and there is no {match['name']}.c, .S or .rs in {directory}: "
            "correct the name in obj-m or in -objs."
        )


def ineffective(source: Path, kernel: KernelImage) -> Iterator[str]:
    """What a Makefile or Kbuild sets and this kernel's Kbuild does not read."""
    for path in [source / name for name in KBUILD_FILES] if source.is_dir() else ():
        if path.is_file():
            yield from _unread_flags(path, path.read_text(errors="replace"), kernel)


def _separators(text: str, directory: Path) -> Iterator[str]:
    for match in _SEPARATOR.finditer(text):
        path = directory / Path(match["file"]).name
        line = _line(path, int(match["line"]))
        if line[:1] == " ":
            yield f"{path}:{match['line']}: this line begins with spaces: a command line of make begins with a TAB."
        elif _TYPOGRAPHIC.search(line):
            yield f"{path}:{match['line']}: typographic quotation marks: make and the shell take ' and \" only."
        else:
            yield f"{path}:{match['line']}: neither an assignment nor a rule: {line.strip()[:60]!r}"


def _strays(text: str) -> Iterator[str]:
    """Characters that an editor or a web page put in the place of ASCII ones."""
    told: set[tuple[str, int]] = set()
    for match in _STRAY.finditer(text):
        place = match["file"], int(match["line"])
        odd = sorted({character for character in _line(Path(place[0]), place[1]) if ord(character) > 127})
        if place in told or not odd:
            continue
        told.add(place)
        shown = ", ".join(f"{character} (U+{ord(character):04X})" for character in odd[:4])
        yield (
            f"{place[0]}:{place[1]}: {shown}: C takes ASCII only. Type the character again; text copied from a page "
            "has typographic ones."
        )


def _from_a_page(text: str) -> Iterator[str]:
    """HTML entities, line numbers and prompts that were copied along with code; the first line of a file says it."""
    told: set[str] = set()
    for match in _ERROR_LINE.finditer(text):
        name, number = match["file"], int(match["line"])
        line = _line(Path(name), number)
        if name in told:
            continue
        if entity := re.search(r"&(?:lt|gt|amp|quot|nbsp|#\d+);", line):
            told.add(name)
            yield (
                f"{name}:{number}: {entity[0]} is HTML, copied along with the code: write < for &lt;, > for &gt;, "
                '& for &amp;, " for &quot;.'
            )
        elif re.match(r"\s*\d+[.:|]?\s+[#\w/}{]", line):
            told.add(name)
            yield f"{name}:{number}: this line begins with a line number, copied along with the code: delete them all."


def user_space_headers(text: str) -> Iterator[str]:
    """A sentence for each header of user space that the compiler (with ASCII quotation marks) did not find."""
    for match in _MISSING.finditer(text):
        instead = _USER_SPACE.get(match["name"])
        if instead:
            yield f"<{match['name']}> is a header of user space, which the kernel does not have. Use {instead}."


def _written(path: Path, makefile: str, text: str, kernel: KernelImage) -> Iterator[str]:
    """What the Makefile itself shows."""
    for name, objects in _COMPOSITE.findall(makefile):
        if f"{name}.o" in objects.split():
            yield (
                f"{path}: {name}.o is both the module and one of its objects, so it is made of itself. "
                f"Rename the module ({name}_mod.o, {name}_mod-objs) or the file {name}.c."
            )
    yield from _unread_flags(path, makefile, kernel)
    if "$(srctree)/$(src)" in makefile and "No such file" in text:
        yield f"{path}: $(src) is a whole path since 6.10: write $(src), not $(srctree)/$(src)."


def _unread_flags(path: Path, makefile: str, kernel: KernelImage) -> Iterator[str]:
    flags = re.search(r"^\s*(EXTRA_(?:C|A|LD)FLAGS)\s*[:+?]?=", makefile, re.MULTILINE)
    if flags and not _reads_extra_flags(kernel):
        new = {"EXTRA_CFLAGS": "ccflags-y", "EXTRA_AFLAGS": "asflags-y", "EXTRA_LDFLAGS": "ldflags-y"}[flags[1]]
        yield f"{path}: {flags[1]} has no effect since 6.15: write {new} += … in its place."
    plain = re.search(r"^\s*CFLAGS\s*[:+?]?=", makefile, re.MULTILINE)
    if plain:
        yield f"{path}: CFLAGS is not what Kbuild reads: write ccflags-y += … in its place."


def _reads_extra_flags(kernel: KernelImage) -> bool:
    """Whether a kernel's Kbuild still takes EXTRA_CFLAGS (commit e966ad0edd00 took it out)."""
    trees = [root.parent for root in KernelHeaders(kernel).roots if root.name == "include"]
    scripts = [tree / "scripts" / name for tree in trees for name in ("Makefile.lib", "Makefile.build")]
    return any("EXTRA_CFLAGS" in path.read_text(errors="replace") for path in scripts if path.is_file())


def _line(path: Path, number: int) -> str:
    try:
        return path.read_text(errors="replace").splitlines()[number - 1]
    except (OSError, IndexError):
        return ""
