"""Context: each mistake is found at its line, with what led to it; the same code put right gives no finding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kobox.checks.context.context import ContextCheck
from kobox.checks.report.finding import Finding, own_frame
from kobox.checks.runner.session import Examination
from kobox.errors import KoboxError
from tests.checks.conftest import Laboratory

SOURCE = Path("contexts/contexts.c")
# what -> (kind, part of the message, where, which line made the thing concerned or "")
MISTAKES = {
    "msleep": (
        "atomic-sleep",
        "msleep() may sleep, but spinlock ctx_lock is held",
        "sleeps msleep",
        "locks for msleep",
    ),
    "gfp": ("atomic-sleep", "may sleep, but spinlock ctx_lock is held", "/* allocates */", ""),
    "mutex_in_spinlock": ("atomic-sleep", "mutex_lock() may sleep, but spinlock ctx_lock", "takes the mutex", ""),
    "rcu_sleep": ("atomic-sleep", "an RCU read-side section is open", "/* allocates */", "/* reads */"),
    "preempt_sleep": ("atomic-sleep", "preemption is off", "vmallocs", "disables preemption"),
    "irq_sleep": (
        "atomic-sleep",
        "synchronize_rcu() may sleep, but interrupts are off",
        "synchronizes",
        "disables int",
    ),
    "in_timer": ("atomic-sleep", "a softirq (a timer, a tasklet, the network) is served", "/* allocates */", ""),
    "held": ("lock-imbalance", "mutex ctx_mutex is still held on return to user space", "holds on", "holds on"),
    "rcu_open": ("lock-imbalance", "RCU read-side section is still open on return", "/* opens */", "/* opens */"),
    "preempt_open": ("lock-imbalance", "preemption is still off", "leaves preemption off", "leaves preemption off"),
    "rcu_left": ("lock-imbalance", "RCU read-side section is still open on return", "opens, and", "opens, and"),
    "preempt_left": ("lock-imbalance", "preemption is still off", "disables, and", "disables, and"),
    "double_unlock": ("double-unlock", "mutex ctx_mutex is released, but nobody holds it", "unlocks again", ""),
    "double_spin_unlock": ("double-unlock", "spinlock ctx_lock is released, but nobody", "releases again", ""),
    "self": ("self-deadlock", "mutex ctx_mutex is taken, but is held already", "second of the m", "first of the mutex"),
    "self_spin": (
        "self-deadlock",
        "spinlock ctx_lock is taken, but is held",
        "second of the s",
        "first of the spinlock",
    ),
    "order": ("lock-order", "mutex ctx_mutex is taken while mutex ctx_second is held", "first inside", "second inside"),
    "spin_order": ("lock-order", "spinlock ctx_lock is taken while spinlock ctx_other", "lock inside", "other inside"),
    "irqs_off": ("interrupts-off", "interrupts were off for 50 ms", "locks for long", "/* ends */"),
    "cli": ("interrupts-off", "interrupts were off for 50 ms", "clears the flag", "sets the flag"),
    "deep": ("stack-depth", "of 16384 bytes of the stack are in use", "makes a large frame", ""),
    "irq_unsafe": ("irq-unsafe-lock", "where a hard interrupt may come", "with interrupts on", "in the interrupt"),
    "fault": ("atomic-sleep", "_copy_to_user() may sleep, but spinlock ctx_lock is held", "/* copies */", ""),
}
WARNINGS = ("interrupts-off", "stack-depth")


def read(box: object) -> None:
    with box.open("/proc/contexts", "rb") as file:  # type: ignore[attr-defined]
        file.read(10)


@pytest.fixture(autouse=True)
def short_hangs(laboratory: Laboratory) -> None:
    laboratory.box.limits.cpu = 2.0


@pytest.fixture
def patience(laboratory: Laboratory, short_hangs: None) -> None:
    """What is right comes back, on a slow machine too."""
    laboratory.box.limits.cpu = 60.0


def examine(laboratory: Laboratory, parameters: str) -> list[Finding]:
    file = laboratory.file("contexts", "contexts")
    return laboratory.examine(file, [ContextCheck()], f"{parameters} in_read=1", read)


def the_mistake(laboratory: Laboratory, what: str, line_of: Callable[[str, Path], int]) -> list[str]:
    """Assert that a mistake is found where it is made; the functions of the chain of calls."""
    kind, message, line, made_at = MISTAKES[what]
    findings = examine(laboratory, f"what={what}")
    found = next((finding for finding in findings if finding.kind == kind), None)
    assert found is not None, findings
    assert message in found.message
    assert found.severity == ("warning" if kind in WARNINGS else "error")
    assert found.where is not None
    assert (found.where.file, found.where.line) == ("contexts.c", line_of(line, SOURCE))
    assert found.advice
    if made_at:
        assert found.object is not None
        made = own_frame(found.object.made_at)
        assert made is not None
        assert made.line == line_of(made_at, SOURCE)
    return [frame.function for frame in found.chain]


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_is_found_where_it_is_made(
    laboratory: Laboratory, what: str, line_of: Callable[[str, Path], int]
) -> None:
    functions = the_mistake(laboratory, what, line_of)
    if what not in ("in_timer", "irq_unsafe"):
        assert functions[-1].startswith("entry_SYSCALL_64")
        assert "ctx_read" in functions


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize("what", [*MISTAKES, "all_locks"])
def test_what_is_right_is_not_found(laboratory: Laboratory, what: str) -> None:
    assert examine(laboratory, f"what={what} good=1") == []


@pytest.mark.parametrize("what", ["msleep", "order", "preempt_open", "deep"])
def test_in_init_as_well(laboratory: Laboratory, what: str) -> None:
    kind = MISTAKES[what][0]
    file = laboratory.file("contexts", "contexts")
    found = next(f for f in laboratory.examine(file, [ContextCheck()], f"what={what}") if f.kind == kind)
    assert "ctx_init" in [frame.function for frame in found.chain]
    assert laboratory.examine(file, [ContextCheck()], f"what={what} good=1") == []


@pytest.mark.usefixtures("patience")
def test_correct_modules_give_no_finding(laboratory: Laboratory) -> None:
    names = "chardev chatty clocks entries good hello kbase kprobed memories miscdev notified params udpfilter workers"
    for name in names.split():
        assert laboratory.examine(laboratory.file(name), [ContextCheck()]) == [], name


def test_a_kernel_that_does_not_count_preemption_is_not_called_clean(
    laboratory: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(box: object) -> None:
        raise KoboxError("this kernel does not count preemption")

    monkeypatch.setattr("kobox.checks.context.context.CpuReader", refuse)
    file = laboratory.file("contexts", "contexts")
    examination = Examination(laboratory.box, file, [ContextCheck()], parameters="what=order")
    assert examination.run() == []
    assert examination.unchecked == ["context: this kernel does not count preemption"]
