"""Walking stacks by frame pointers: the same calls as the kernel's own unwinder finds, in every kind of place."""

from __future__ import annotations

from kobox.box.boot.bare_boot import boot
from kobox.images.store import KernelImage
from tests.arch.test_unwind import call_of, described, kernel_traces
from tests.building import BuiltTestModules


def test_the_calls_are_those_that_the_kernel_prints(arm64_kernel: KernelImage) -> None:
    modules = BuiltTestModules(arm64_kernel, "stacks")
    with boot(arm64_kernel) as box:
        unwinder = box.inspect.unwinder
        mine: list[list[str]] = []
        with box.probe("dump_stack", lambda hit: mine.append(described(box, unwinder.walk(hit.registers)))):
            loaded = box.insmod(modules("stacks"))
            loaded.unload()
        lines = [record.text for record in box.log.since(loaded)]
        theirs = kernel_traces(lines)
        order = [line.rpartition(" ")[2] for line in lines if "trace from" in line]
    assert sorted(order) == ["exit", "init", "interrupt", "timer", "work"]
    for where, calls in zip(order, mine, strict=True):
        assert calls[0] == "dump_stack+0x0"
        printed = [call_of(call) for call in theirs[where]]
        start = next(n for n, call in enumerate(printed) if call.startswith("dump_stack+"))
        assert calls[1:] == printed[start + 1 :], where
