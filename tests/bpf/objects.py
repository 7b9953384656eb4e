"""The eBPF programs of tests/bpf/programs, compiled once for the tests that use them."""

from __future__ import annotations

import shutil
import tempfile
from functools import cache
from pathlib import Path

from kobox.images.store import KernelImage
from kobox.kbuild.build import build

PROGRAMS = Path(__file__).parent / "programs"


@cache
def bpf_object(name: str, kernel: KernelImage) -> Path:
    """The object of tests/bpf/programs/NAME.bpf.c."""
    room = Path(tempfile.mkdtemp(prefix="kobox-bpf-"))
    (made,) = build(Path(shutil.copy(PROGRAMS / f"{name}.bpf.c", room)), kernel)
    return made
