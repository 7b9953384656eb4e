"""`make check-bpf-kinds`: eBPF programs of every kind on several kernels: refused, loaded, attached, seen to run.

python -m tests.bpf.attach_kinds [--update docs/ebpf.md] [KERNEL…]        a row a kind, a column a kernel
"""

from __future__ import annotations

import argparse
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from kobox.apps.bpf_exercise import BpfExercise
from kobox.box.boot.boot import boot
from kobox.box.box import Box
from kobox.box.bpf.bpf_object import BpfLoadError, BpfObject
from kobox.box.bpf.programs import BpfLink, BpfProgram
from kobox.bpf.program_kind import AttachTo
from kobox.errors import KoboxError
from kobox.images.store import KernelImage, Store
from tests.bpf.objects import bpf_object
from tests.conftest import _suite_kernel
from tests.kbuild.test_module_btf import offered

SUITES = ("bookworm", "trixie", "sid")
# What Debian's kernels have since when; kprobe.multi needs CONFIG_FPROBE.
SINCE = {
    "of_netfilter": (6, 4),
    "of_tcx_ingress": (6, 6),
    "of_tcx_egress": (6, 6),
    "of_kprobe_multi": (6, 12),
    "of_kretprobe_multi": (6, 12),
}
# Two of them do not share one place: the second gets a round of its own.
SECOND = ("of_xdp_frags", "of_skb_verdict")
# A parser is called where there is somebody to take what it has found.
NEEDS = {"of_stream_parser": ("of_stream_verdict",)}
LOADER = "/run/kobox-bpf-loader"
PACKET = bytes(12) + b"\x08\x00\x45" + bytes(49)


def attached(box: Box, program: BpfProgram, exercise: BpfExercise) -> BpfLink:
    """A link of a program, whose kind may need a place that the section does not name."""
    if program.attach_to is AttachTo.SOCKET:
        return exercise.attach_to_socket(program)
    if program.section in ("uprobe", "uretprobe"):
        return program.attach(f"{LOADER}:{_function(box)}")
    return program.attach("entries" if program.section == "iter/bpf_map_elem" else "")


def _function(box: Box) -> int:
    """Where in the loader's file its section .init stands: a function that every start of it calls (elf(5))."""
    box.bpf.run_idle()
    data = box.read_bytes(LOADER)
    (at,) = struct.unpack_from("<Q", data, 40)
    size, count, named = struct.unpack_from("<HHH", data, 58)
    rows = [struct.unpack_from("<IIQQQQ", data, at + n * size) for n in range(count)]
    names = rows[named][4]
    return next(row[4] for row in rows if data[names + row[0] :].startswith(b".init\0"))


def make_run(box: Box, loaded: BpfObject, exercise: BpfExercise) -> None:
    """Use the box, read iterators, call what is only called."""
    if "of_uprobe" in loaded.programs or "of_uretprobe" in loaded.programs:
        box.bpf.run_idle()
    exercise.run(loaded)
    for program in loaded.programs.values():
        if program.attach_to is AttachTo.ITERATOR and any(link.attached for link in program.links):
            program.read()
        elif program.attach_to in (AttachTo.NOTHING, AttachTo.NETWORK) and not program.statistics.runs:
            with suppress(OSError):  # lwt_seg6local: ENOTSUPP
                program.test_run(b"" if program.kind == "syscall" else PACKET)


def one_kind(box: Box, kernel: KernelImage, name: str) -> str:
    """How far one program came alone: "refused", "loads", "attaches", "acts"; and why no further."""
    content = bpf_object("attach_kinds", kernel)
    target = None
    try:
        if name == "of_freplace":
            target, loaded = replacement(box, content)
        else:
            opened = box.bpf.open(content)
            opened.choose(name, *NEEDS.get(name, ()))
            loaded = opened.load()
    except BpfLoadError as error:
        return f"refused\t{error.log[-1] if error.log else error}"
    exercise = BpfExercise(box)
    with loaded:
        program = loaded.programs[name]
        if program.attach_to is not AttachTo.NOTHING:
            try:
                for needed in (name, *NEEDS.get(name, ())):
                    attached(box, loaded.programs[needed], exercise)
            except (KoboxError, OSError) as error:
                return f"loads\t{error}"
        make_run(box, loaded, exercise)
        ran = program.statistics.runs
        if target:  # the program that it is a part of is counted in its place
            ran = int(target.programs["of_tc_replaced"].test_run(PACKET).result == 7)
        loaded.detach()
    if target:
        target.unload()
    if program.attach_to is AttachTo.NOTHING:
        return f"acts when called\t{ran}" if ran else "loads\t"
    return f"acts\t{ran}" if ran else "attaches\t"


def replacement(box: Box, content: Path) -> tuple[BpfObject, BpfObject]:
    """A program whose function is replaced, and the object that replaces it."""
    target = box.bpf.load_one(content, "of_tc_replaced")
    opened = box.bpf.open(content)
    opened.choose("of_freplace")
    opened.replace("of_freplace", target.programs["of_tc_replaced"], "replaced")
    return target, opened.load()


def names(box: Box, kernel: KernelImage) -> Iterator[tuple[str, str]]:
    """(name, section) of each program."""
    opened = box.bpf.open(bpf_object("attach_kinds", kernel))
    found = [(program.name, program.section) for program in opened.programs.values()]
    opened.unload()
    return iter(found)


def table(kernels: list[KernelImage], tell: Callable[[str], None]) -> list[str]:
    """The rows of docs/ebpf.md's table."""
    newest = kernels[-1]
    found: dict[str, list[str]] = {}
    for kernel in kernels:
        with boot(kernel) as box:
            for name, section in names(box, newest):
                state, _, why = one_kind(box, newest, name).partition("\t")
                tell(f"{kernel.name}: {section}: {state} {why}".splitlines()[0][:160])
                if section != "tc" or name == "of_tc":
                    found.setdefault(section, []).append(state)
                if not box.alive:
                    box.reset()
    heads = [f"{kernel.name.split('-', 1)[0]}" for kernel in kernels]
    rows = [f"| section | {' | '.join(heads)} |", f"|---|{'---|' * len(heads)}"]
    return rows + [f"| `{section}` | {' | '.join(states)} |" for section, states in found.items()]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("kernels", nargs="*")
    parser.add_argument("--update", type=Path)
    given = parser.parse_args()
    store = Store()
    kernels = [store.get(name) for name in given.kernels] or [_suite_kernel(store, suite) for suite in SUITES]
    for kernel in kernels:
        with tempfile.TemporaryDirectory() as room:
            offered(kernel, Path(room))
            print(f"{kernel.name}: functions and tracepoints of a module: used", flush=True)
    rows = table(kernels, lambda line: print(line, flush=True))
    print("\n".join(rows))
    if given.update:
        text = given.update.read_text()
        begin, end = "<!-- kinds -->\n", "<!-- end of kinds -->"
        head, rest = text.split(begin, 1)
        given.update.write_text(f"{head}{begin}" + "".join(f"{row}\n" for row in rows) + end + rest.split(end, 1)[1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
