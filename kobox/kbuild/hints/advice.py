"""What a failed build's output means to somebody who knows the kernel: a paragraph for each known mistake."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from kobox.images.exports import KernelExports
from kobox.images.kernel_image import KernelImage
from kobox.kbuild.hints.diagnostics import parse, plain
from kobox.kbuild.hints.interfaces import InterfaceAdviser
from kobox.kbuild.hints.makefiles import ineffective, makefile_advice
from kobox.kbuild.hints.mistakes import mistakes, warned

_MOST = 6


def advice(
    output: str, kernel: KernelImage, source: Path | None = None, others: Sequence[KernelImage] = ()
) -> list[str]:
    """A paragraph for each mistake in the output that is known, in no more than six.

    `source` is what was built, `others` are kernels whose headers are asked as well.
    """
    return list(dict.fromkeys(_advice(output, kernel, source, others)))[:_MOST]


def warning_advice(output: str, kernel: KernelImage, source: Path) -> list[str]:
    """A paragraph for each warning of a build that has succeeded, as far as it is known; and for what the Makefile says
    without effect. The headers are not read for them."""
    return list(dict.fromkeys(_warnings(plain(output), kernel, source)))[:_MOST]


def _warnings(text: str, kernel: KernelImage, source: Path) -> Iterator[str]:
    yield from ineffective(source, kernel)
    if "warning" in text.lower():  # modpost writes WARNING
        adviser = InterfaceAdviser.of(kernel, (), release=kernel.release)
        yield from adviser.changed(parse(text))
        yield from warned(text)


def _advice(output: str, kernel: KernelImage, source: Path | None, others: Sequence[KernelImage]) -> Iterator[str]:
    text = plain(output)
    if source is not None:
        yield from makefile_advice(text, source, kernel)
    yield from mistakes(text, KernelExports(kernel), others, source)
    yield from InterfaceAdviser.of(kernel, others).advise(parse(output))
