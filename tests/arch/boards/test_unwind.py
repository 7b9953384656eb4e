"""Walking stacks by frame pointers: the same calls as the kernel's own unwinder finds, in every kind of place."""

from __future__ import annotations

from kobox.box.boot.bare_boot import boot
from kobox.images.store import KernelImage
from tests.arch.test_unwind import call_of, described, kernel_traces
from tests.building import BuiltTestModules


def test_the_calls_are_those_that_the_kernel_prints(board_kernel: KernelImage) -> None:
    modules = BuiltTestModules(board_kernel, "stacks")
    with boot(board_kernel) as box:
        unwinder = box.inspect.unwinder
        mine: list[list[str]] = []
        with box.probe("dump_stack", lambda hit: mine.append(described(box, unwinder.walk(hit.registers)))):
            loaded = box.insmod(modules("stacks"))
            loaded.unload()
        lines = [record.text for record in box.log.since(loaded)]
        theirs = kernel_traces(lines)
        order = [line.rpartition(" ")[2] for line in lines if ": trace from" in line]
    assert sorted(order) == ["exit", "init", "interrupt", "timer", "work"]
    for where, calls in zip(order, mine, strict=True):
        assert calls[0] == "dump_stack+0x0"
        printed = [call_of(call) for call in theirs[where]]
        # The last of the two: on ARMv7 one goes on as the other.
        start = max(n for n, call in enumerate(printed) if call.startswith(("dump_stack+", "dump_stack_lvl+")))
        same = len(printed) - start
        assert calls[1:same] == printed[start + 1 :], where
        # RV64's kernel does not look beyond the stack of interrupts: what follows is where it came from.
        beyond = calls[same:]
        assert not beyond or (where in ("interrupt", "timer") and board_kernel.architecture == "riscv64")
        assert not beyond or (beyond[0].startswith("do_irq+") and beyond[1].startswith("handle_exception+")), beyond
        assert len(beyond) != 2, "the code that was interrupted"
