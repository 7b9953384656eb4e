"""From the log of a failed build (make's, DKMS's make.log) to causes: the compiler's messages, and what a kernel
interface became.

    the compiler's lines → kobox.kbuild.hints: the table of changes, the headers of cached kernels → causes

The log may come from another machine: no file that it names is opened. Of the cached kernels the one that is nearest
to the log's release stands in for it, and no change that is newer than that release counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from kobox.explain.cause import Cause
from kobox.explain.log_lines import LogLine
from kobox.images.kernel_image import KernelImage
from kobox.kbuild.hints.diagnostics import Diagnostic, parse, plain
from kobox.kbuild.hints.interfaces import InterfaceAdviser
from kobox.kbuild.hints.makefiles import user_space_headers
from kobox.kbuild.hints.mistakes import compiler_mistakes
from kobox.kbuild.hints.releases import ordered

_MOST = 8  # causes of one log
_LINES = 4000  # of a log that are looked at, from its first error on
_ERROR = re.compile(r":\d+: (?:fatal )?(?:error|warning): ")
_LINKER = re.compile(r"multiple definition of |with SSE disabled|with x87 disabled")
# The release in the words of DKMS, make, and paths.
_RELEASE = re.compile(
    r"(?:on kernel:? |for kernel:? |/lib/modules/|/linux-headers-|/usr/src/kernels/|/usr/src/linux-|/linux-)"
    r"(\d+\.\d+[\w.+~-]*)"
)
_PORT = "Change the source as said, or take a newer version of the module that knows this kernel."


def build_causes(lines: Sequence[LogLine], kernels: Sequence[KernelImage]) -> list[Cause]:
    """A cause for each interface or mistake that the compiler's lines are about and that is known, in their order.

    `kernels` are those at hand; without one that has headers, nothing is found.
    """
    first = next((at for at, line in enumerate(lines) if _ERROR.search(line.text) or _LINKER.search(line.text)), None)
    if first is None:
        return []
    text = plain("\n".join(line.text for line in lines[first : first + _LINES]))
    release = release_in("\n".join(line.text for line in lines))
    found = [*_mistakes(text), *_interfaces(text, release, [one for one in kernels if one.headers])]
    return found[:_MOST]


def release_in(text: str) -> str:
    """The release of the kernel that a log says was built for; "" where it does not say."""
    match = _RELEASE.search(text)
    return match[1].rstrip(".") if match else ""


def _mistakes(text: str) -> Iterator[Cause]:
    for said in dict.fromkeys((*user_space_headers(text), *compiler_mistakes(text))):
        yield Cause("source-mistake", "", said, _PORT, "")


def _interfaces(text: str, release: str, kernels: Sequence[KernelImage]) -> Iterator[Cause]:
    kernel = stand_in(release, kernels)
    if kernel is None:
        return
    others = [one for one in kernels if one.architecture == kernel.architecture]
    adviser = InterfaceAdviser.of(kernel, others, release=release or kernel.release)
    for diagnostic, paragraph in adviser.explained(parse(text, sources=False)):
        why, _, rest = paragraph.partition("\n")
        yield Cause("interface-changed", "", why, rest or _PORT, _seen(diagnostic), symbols=(diagnostic.name,))


def _seen(one: Diagnostic) -> str:
    return f"{one.file}:{one.line}: {one.text}"


def stand_in(release: str, kernels: Sequence[KernelImage]) -> KernelImage | None:
    """The cached kernel whose interfaces are nearest to a release's: itself, else the next newer one, else the newest.

    None where there is no kernel.
    """
    by_age = sorted(kernels, key=lambda one: ordered(one.release))
    if not by_age:
        return None
    exact = next((one for one in by_age if one.release == release), None)
    newer = next((one for one in by_age if release and ordered(one.release) >= ordered(release)), None)
    return exact or newer or by_age[-1]
