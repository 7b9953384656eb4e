"""eBPF programs of every kind that Debian's 6.1 has: each attached as its section says, or called; each seen to run.

Two rounds in one box: two kinds of programs cannot be at one place. `make check-bpf-kinds` does it one by one, on three
kernels.
"""

from __future__ import annotations

import re

import pytest

from kobox.apps.bpf_exercise import BpfExercise
from kobox.box.boot.boot import boot
from kobox.box.box import Box
from kobox.box.bpf.bpf_object import BpfLoadError
from kobox.box.bpf.programs import BpfAttachError
from kobox.bpf.program_kind import AttachTo
from kobox.images.store import KernelImage
from tests.bpf.attach_kinds import PACKET, SECOND, SINCE, attached, make_run, replacement
from tests.bpf.objects import PROGRAMS, bpf_object

_DEFINED = re.compile(r'^(?:PROGRAM\("(.*?)", (\w+),|SEC\("(.*?)"\)\nint (\w+)\()', re.MULTILINE)
SECTIONS = {
    one or other: section or second
    for section, one, second, other in _DEFINED.findall((PROGRAMS / "attach_kinds.bpf.c").read_text())
}
ALONE = ("of_freplace", "of_tc_replaced")
# What is attached and not run by what a box does by itself: a route of IPv6 segment routing would.
QUIET = ("of_lwt_seg6local",)
WORDS = {"of_kprobe_multi": "CONFIG_FPROBE"}


@pytest.fixture(scope="module")
def runs(debian_kernel: KernelImage) -> dict[str, int]:
    """How often each program has run."""
    found: dict[str, int] = {}
    content = bpf_object("attach_kinds", debian_kernel)
    with boot(debian_kernel) as box:
        first = [name for name in SECTIONS if name not in (*SECOND, *SINCE, *ALONE)]
        for chosen in (first, SECOND):
            opened = box.bpf.open(content)
            opened.choose(*chosen)
            with opened.load() as loaded:
                exercise = BpfExercise(box)
                for program in loaded.programs.values():
                    if program.attach_to is not AttachTo.NOTHING:
                        attached(box, program, exercise)
                make_run(box, loaded, exercise)
                found |= {name: program.statistics.runs for name, program in loaded.programs.items()}
                loaded.detach()
    return found


@pytest.mark.parametrize("name", [name for name in SECTIONS if name not in (*SINCE, *ALONE, *QUIET)])
def test_a_program_is_attached_and_runs(runs: dict[str, int], name: str) -> None:
    assert runs[name] > 0, SECTIONS[name]


@pytest.mark.parametrize("name", ["of_kprobe_multi"])
def test_what_a_kernel_does_not_have_is_named(name: str, box: Box, debian_kernel: KernelImage) -> None:
    with (
        pytest.raises((BpfAttachError, BpfLoadError), match=WORDS[name]),
        box.bpf.load_one(bpf_object("attach_kinds", debian_kernel), name) as loaded,
    ):
        loaded.attach()


def test_a_program_takes_the_place_of_a_function_of_another(box: Box, debian_kernel: KernelImage) -> None:
    target, loaded = replacement(box, bpf_object("attach_kinds", debian_kernel))
    called = target.programs["of_tc_replaced"]
    with target, loaded:
        assert called.test_run(PACKET).result == 0
        loaded.attach()
        assert called.test_run(PACKET).result == 7
        loaded.detach()
        assert called.test_run(PACKET).result == 0
