"""When things go wrong: kobox's own exception with the kernel's words, and a box that goes on or can be reset."""

from __future__ import annotations

import errno

import pytest

from kobox.apps.run_reports import reports
from kobox.box.box import Box
from kobox.box.inspect.printk import LogRecord
from kobox.errors import (
    BoxError,
    BoxHungError,
    BoxTimeoutError,
    KernelPanicError,
    ModuleLoadError,
    ModuleUnloadError,
    ProcessDiedError,
)
from tests.building import BuiltTestModules

# what, the line that starts the report, kind, who is named
OOPSES = [
    ("null", "BUG: kernel NULL pointer dereference, address: 0000000000000010", "oops", "faulty_null"),
    ("wild", "general protection fault", "oops", "faulty_wild"),
    ("jump", "BUG: unable to handle page fault for address: 0000000000001234", "oops", "faulty_jump"),
    ("readonly", "BUG: unable to handle page fault for address", "oops", "faulty_readonly"),
    ("divide", "divide error: 0000", "oops", "faulty_divide"),
    ("bug", "kernel BUG at ", "kernel-bug", "faulty_bug"),
    ("list", "list_del corruption", "kernel-warning", "faulty_list"),
    ("double_free", "kernel BUG at mm/slub.c", "kernel-bug", "faulty_act"),
]


def still_good(box: Box, modules: BuiltTestModules) -> None:
    """The box loads and unloads a module."""
    assert box.alive
    box.insmod(modules("good")).unload()
    assert [record.text for record in box.log.of("good")][-2:] == ["good: loaded with n=0", "good: unloaded"]


def healed(box: Box, modules: BuiltTestModules) -> None:
    """A reset makes it a clean box again."""
    assert not box.alive
    with pytest.raises(BoxError, match="dead"):
        box.syscall("getpid")
    box.reset()
    assert not box.findings
    still_good(box, modules)


def whole_report(error: BoxError, start: str, function: str) -> None:
    """The error carries all of the kernel's report, from its first line to its last, with the function named."""
    (first,) = [n for n, line in enumerate(error.log) if line.startswith(start)]
    report = "\n".join(error.log[first:])
    assert "Call Trace:" in report
    assert f"{function}+0x" in report
    assert "[faulty]" in report
    assert "Code: " in report
    assert "CR2: " in report
    assert "---[ end trace" in report


@pytest.mark.parametrize(("what", "start", "kind", "function"), OOPSES)
@pytest.mark.parametrize("where", ["init", "exit"])
def test_an_oops_kills_the_call_not_the_box(
    what: str, start: str, kind: str, function: str, where: str, box: Box, modules: BuiltTestModules
) -> None:
    if where == "exit":
        box.insmod(modules("faulty"), what=what, where=where)
    act = (lambda: box.insmod(modules("faulty"), what=what)) if where == "init" else (lambda: box.rmmod("faulty"))
    with pytest.raises(ProcessDiedError) as caught:
        act()
    error = caught.value
    whole_report(error, start, function)
    assert error.box_lives
    assert error.pc
    if what not in ("list", "double_free", "jump"):
        assert error.pc.startswith(f"{function}+0x")
        assert error.pc.endswith("[faulty]")
    (finding,) = box.findings
    assert finding.message.startswith(start)
    assert finding.severity == "error"
    assert finding.where == f"{function} [faulty]"
    assert {record.text for record in finding.records} <= set(error.log)
    with pytest.raises(ModuleUnloadError) as refused:
        box.rmmod("faulty")
    assert refused.value.errno == errno.EBUSY
    state = next(line for line in box.read_text("/proc/modules").splitlines() if line.startswith("faulty "))
    assert ("Loading" if where == "init" else "Unloading") in state
    box.limits.timeout = 5
    # The kernel waits for an instance that is "Loading" to come to an end, and refuses one that is "Unloading".
    with pytest.raises(BoxTimeoutError if where == "init" else ModuleLoadError):
        box.insmod(modules("faulty"))
    still_good(box, modules)


@pytest.mark.parametrize("what", ["null", "bug", "divide", "wild"])
def test_an_oops_in_a_timer_is_a_panic(what: str, box: Box, modules: BuiltTestModules) -> None:
    box.insmod(modules("faulty"), what=what, where="timer")
    with pytest.raises(KernelPanicError) as caught:
        box.sleep(1)
    error = caught.value
    assert not error.box_lives
    assert error.pc.startswith(f"faulty_{what}+0x")
    assert any(line == "Kernel panic - not syncing: Fatal exception in interrupt" for line in error.log)
    assert any("faulty_timer_fired" in line or f"faulty_{what}" in line for line in error.log)
    assert {finding.kind for finding in box.findings} >= {"panic"}
    healed(box, modules)


def test_an_oops_in_a_work_item_is_found_in_the_log(box: Box, modules: BuiltTestModules) -> None:
    box.insmod(modules("faulty"), what="null", where="work")
    box.sleep(1)
    (finding,) = box.findings
    assert (finding.kind, finding.where) == ("oops", "faulty_null [faulty]")
    assert any("faulty_worked" in record.text for record in finding.records) or any(
        "Workqueue: events faulty_worked [faulty]" in record.text for record in finding.records
    )
    assert box.syscall("getpid") > 1


def test_a_warning_is_a_finding_and_nothing_more(box: Box, modules: BuiltTestModules) -> None:
    module = box.insmod(modules("faulty"), what="warn")
    (finding,) = box.findings
    assert (finding.kind, finding.severity) == ("kernel-warning", "warning")
    assert finding.where == "faulty_warn [faulty]"
    texts = [record.text for record in finding.records]
    assert texts[:2] == ["------------[ cut here ]------------", "something is odd"]
    assert texts[-1].startswith("---[ end trace")
    assert str(finding).endswith(" in faulty_warn [faulty]")
    module.unload()
    still_good(box, modules)


def test_sleeping_in_atomic_context_is_a_finding(box: Box, modules: BuiltTestModules) -> None:
    box.insmod(modules("faulty"), what="sleep_atomic")
    assert box.findings[0].kind == "atomic-sleep"
    assert box.findings[0].where == "faulty_sleep_atomic [faulty]"


@pytest.mark.parametrize("where", ["init", "exit", "timer"])
def test_a_panic(where: str, box: Box, modules: BuiltTestModules) -> None:
    def act() -> None:
        module = box.insmod(modules("faulty"), what="panic", where=where)
        box.sleep(1)
        module.unload()

    with pytest.raises(KernelPanicError) as caught:
        act()
    error = caught.value
    assert any(line.startswith("Kernel panic - not syncing: faulty wants it so") for line in error.log)
    assert "[faulty]" in error.pc
    (finding,) = box.findings
    assert (finding.kind, finding.severity) == ("panic", "error")
    healed(box, modules)


@pytest.mark.parametrize("where", ["init", "exit", "timer"])
def test_a_stack_overflow(where: str, box: Box, modules: BuiltTestModules) -> None:
    def act() -> None:
        module = box.insmod(modules("faulty"), what="overflow", where=where)
        box.sleep(1)
        module.unload()

    with pytest.raises(KernelPanicError) as caught:
        act()
    assert any("stack guard page was hit" in line for line in caught.value.log)
    assert any("faulty_recurse+0x" in line for line in caught.value.log)
    assert caught.value.pc
    assert "oops" in {finding.kind for finding in box.findings}
    healed(box, modules)


@pytest.mark.parametrize(
    ("what", "place"),
    [
        ("loop", "faulty_loop+0x"),
        ("loop_irqoff", "faulty_loop_irqoff+0x"),
        ("spin_twice", "native_queued_spin_lock_slowpath+0x"),
    ],
)
@pytest.mark.parametrize("where", ["init", "exit"])
def test_an_endless_loop(what: str, place: str, where: str, box: Box, modules: BuiltTestModules) -> None:
    box.limits.cpu = 1

    def act() -> None:
        box.insmod(modules("faulty"), what=what, where=where).unload()

    with pytest.raises(BoxHungError) as caught:
        act()
    assert caught.value.pc.startswith(place)
    assert not caught.value.box_lives
    assert "Restore a checkpoint" in caught.value.hint
    healed(box, modules)


def test_a_loop_in_a_timer_hangs_the_next_call(box: Box, modules: BuiltTestModules) -> None:
    box.limits.cpu = 1
    box.insmod(modules("faulty"), what="loop", where="timer")
    box.sleep(0.15)
    with pytest.raises(BoxHungError) as caught:
        box.syscall("getpid")
    assert caught.value.pc.startswith("faulty_loop+0x")
    healed(box, modules)


def test_a_cpu_that_is_halted_with_interrupts_off(box: Box, modules: BuiltTestModules) -> None:
    with pytest.raises(KernelPanicError, match="interrupts off") as caught:
        box.insmod(modules("faulty"), what="halt")
    assert caught.value.pc.startswith("faulty_halt+0x")
    healed(box, modules)


@pytest.mark.parametrize(
    ("what", "place"),
    [("lock_twice", "faulty_act+0x"), ("sleep_forever", "faulty_sleep_forever+0x")],
)
@pytest.mark.parametrize("where", ["init", "exit"])
def test_a_sleep_that_never_ends(what: str, place: str, where: str, box: Box, modules: BuiltTestModules) -> None:
    box.limits.timeout = 300

    def act() -> None:
        box.insmod(modules("faulty"), what=what, where=where).unload()

    with pytest.raises(BoxTimeoutError) as caught:
        act()
    assert caught.value.pc.startswith(place)
    assert caught.value.pc.endswith("[faulty]")
    assert caught.value.box_lives
    assert any("blocked for more than 120 seconds" in line for line in caught.value.log)
    assert any(finding.message.startswith("INFO: task kobox:") for finding in box.findings)
    still_good(box, modules)


@pytest.mark.parametrize("what", ["eat", "nofail"])
def test_memory_that_is_used_up(what: str, box: Box, modules: BuiltTestModules) -> None:
    with pytest.raises(KernelPanicError) as caught:
        box.insmod(modules("faulty"), what=what)
    assert any("deadlocked on memory" in line for line in caught.value.log)
    assert any("invoked oom-killer" in line for line in caught.value.log)
    assert any("Mem-Info:" in line for line in caught.value.log)
    assert "[faulty]" in caught.value.pc
    healed(box, modules)


def test_an_allocation_too_large_is_the_module_s_to_handle(box: Box, modules: BuiltTestModules) -> None:
    with pytest.raises(ModuleLoadError) as caught:
        box.insmod(modules("good"), result=-errno.ENOMEM)
    assert caught.value.errno == errno.ENOMEM
    still_good(box, modules)


def test_every_hang_and_death_in_turn_leaves_the_next_reset_clean(box: Box, modules: BuiltTestModules) -> None:
    start = box.log.text()
    for what in ("null", "loop_irqoff", "panic", "spin_twice", "overflow", "lock_twice", "halt", "bug"):
        box.limits.cpu, box.limits.timeout = 0.3, 10
        with pytest.raises(BoxError):
            box.insmod(modules("faulty"), what=what)
        box.reset()
        assert box.log.text() == start
    still_good(box, modules)


def test_modules_that_behave_give_no_findings(box: Box, modules: BuiltTestModules) -> None:
    for name in ("memories", "asyncprobe", "notified", "kprobed", "entries", "workers", "params", "chardev"):
        module = box.insmod(modules(name))
        box.sleep(2)
        module.unload()
    assert box.findings == []


def test_a_panic_that_the_end_of_a_sleep_cut_in_two_is_told_whole(box: Box, modules: BuiltTestModules) -> None:
    box.insmod(modules("faulty"), what="null", where="timer")
    start = box.log.next_seq
    while not any("BUG: kernel NULL pointer" in record.text for record in box.log.since(start)):
        box.sleep(0.001)
    assert box.alive
    with pytest.raises(KernelPanicError) as caught:
        box.syscall("getpid")
    whole_report(caught.value, "BUG: kernel NULL pointer dereference", "faulty_null")
    assert caught.value.pc.startswith("faulty_null+0x")
    healed(box, modules)


# What KASAN and lockdep print (mm/kasan/report.c, kernel/locking/lockdep.c), and the sentence of it.
FRAMED = {
    "BUG: KASAN: double-free in __kmem_cache_free+0x45/0xb9": [
        "==================================================================",
        "BUG: KASAN: double-free in __kmem_cache_free+0x45/0xb9",
        "Free of addr ffff888000b65d80 by task kobox/28",
        "",
        "Call Trace:",
        " <TASK>",
        " faulty_act+0x53/0x62 [faulty]",
        " </TASK>",
        "==================================================================",
    ],
    "WARNING: possible recursive locking detected": [
        "",
        "============================================",
        "WARNING: possible recursive locking detected",
        "6.1.192-debug #1 Tainted: G           O      ",
        "--------------------------------------------",
        "kobox/28 is trying to acquire lock:",
        "ffffffffa0002208 (faulty_mutex){+.+.}-{3:3}, at: faulty_act+0x53/0x62 [faulty]",
    ],
}


@pytest.mark.parametrize("sentence", FRAMED)
def test_lines_of_equals_signs_and_empty_ones_say_nothing(sentence: str) -> None:
    records = [LogRecord(number, 1.0, 4, 0, text) for number, text in enumerate(FRAMED[sentence])]
    (report,) = reports(records, [])
    assert report.what == sentence
    assert report.place == "faulty_act+0x53/0x62 [faulty]"
