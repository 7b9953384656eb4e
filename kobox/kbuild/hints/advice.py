"""What a failed build's output means to somebody who knows the kernel: a paragraph for each known mistake."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from kobox.images.exports import KernelExports
from kobox.images.kernel_image import KernelImage
from kobox.kbuild.hints.diagnostics import parse, plain
from kobox.kbuild.hints.interfaces import InterfaceAdviser
from kobox.kbuild.hints.makefiles import makefile_advice
from kobox.kbuild.hints.mistakes import mistakes

_MOST = 6


def advice(
    output: str, kernel: KernelImage, source: Path | None = None, others: Sequence[KernelImage] = ()
) -> list[str]:
    """A paragraph for each mistake in the output that is known, in no more than six.

    `source` is what was built, `others` are kernels whose headers are asked as well.
    """
    return list(dict.fromkeys(_advice(output, kernel, source, others)))[:_MOST]


def _advice(output: str, kernel: KernelImage, source: Path | None, others: Sequence[KernelImage]) -> Iterator[str]:
    text = plain(output)
    if source is not None:
        yield from makefile_advice(text, source, kernel)
    yield from mistakes(text, KernelExports(kernel), others, source)
    yield from InterfaceAdviser.of(kernel, others).advise(parse(output))
