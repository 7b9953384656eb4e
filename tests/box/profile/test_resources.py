"""Memory, locks, log lines, interrupts, system calls and waiting, of a module that says what it uses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

import kobox
from kobox.box.box import Box
from kobox.box.profile.costs import ProfileCosts, ProfileFormatError
from kobox.box.profile.remedies import remedies
from kobox.box.profile.resources import AllocationSite, InterruptsOff, LogSite, ResourceCosts
from kobox.box.profile.text import changed, costs_text, side_by_side
from kobox.images.store import KernelImage
from tests.building import BuiltTestModules
from tests.conftest import clean_box

SOURCE = Path(__file__).parents[2] / "modules/costs/ledger.c"
ALL = [
    *("a 100", "a 100", "a 600", "f", "t 100", "g 300", "c", "v 5000", "p 2", "s", "r", "l 15"),
    *("h 200", "m 30", "i 150", "f"),
]


@pytest.fixture(scope="session")
def ledger(debian_kernel: KernelImage) -> Path:
    return BuiltTestModules(debian_kernel, "costs")("ledger")


def used(box: Box, ledger: Path, words: Sequence[str], rest: float = 0, **values: object) -> ProfileCosts:
    """What the module costs when these are written to it."""
    with box.profile(ledger) as profile:
        module = box.insmod(ledger, **values)  # type: ignore[arg-type]
        with box.open("/dev/ledger", "wb") as device:
            for word in words:
                device.write(word.encode())
        if rest:
            box.sleep(rest)
        module.unload()
    return profile.costs


@pytest.fixture(scope="module")
def costs(machine_room: dict[str, Box], debian_kernel: KernelImage, ledger: Path) -> ProfileCosts:
    return used(clean_box(machine_room, debian_kernel), ledger, ALL, rest=10, probe_ms=50)


def line_of(text: str) -> str:
    (number,) = [n for n, line in enumerate(SOURCE.read_text().splitlines(), 1) if text in line]
    return f"ledger.c:{number}"


def site(costs: ProfileCosts, text: str, function: str = "") -> AllocationSite:
    (found,) = [
        one
        for one in costs.resources.allocations
        if one.place == line_of(text) and (not function or one.callee == function)
    ]
    return found


@pytest.mark.parametrize(
    ("text", "callee", "kind", "count", "size", "used", "peak", "left"),
    [
        # Three of them with GFP_KERNEL, 800 bytes together; 600 take 1,024 bytes.
        ("return keep(kmalloc(n, GFP_KERNEL)", "__kmalloc", "kmalloc", 3, 600, 2 * 128 + 1024, 800, 0),
        ("object = kmalloc(n, GFP_ATOMIC)", "__kmalloc", "kmalloc", 1, 100, 128, 100, 0),
        ("krealloc(kept[count - 1], n", "krealloc", "kmalloc", 1, 300, 512, 300, 0),
        ("return keep(kmem_cache_alloc(cache", "kmem_cache_alloc", "kmem_cache", 1, 256, 256, 256, 0),
        ("got = vmalloc(n)", "vmalloc", "vmalloc", 1, 5000, 8192, 5000, 0),
        ("__get_free_pages(GFP_KERNEL, n)", "__get_free_pages", "pages", 1, 16384, 16384, 16384, 0),
        ("got = kstrdup(", "kstrdup", "kmalloc", 1, 20, 32, 20, 0),
        ("rcu = kmalloc(sizeof(*rcu)", "kmalloc_trace", "kmalloc", 1, 120, 128, 120, 0),
    ],
    ids=["kmalloc", "atomic", "krealloc", "cache", "vmalloc", "pages", "kstrdup", "kfree_rcu"],
)
def test_allocations_are_exact(
    costs: ProfileCosts, text: str, callee: str, kind: str, count: int, size: int, used: int, peak: int, left: int
) -> None:
    one = site(costs, text)
    assert (one.callee, one.kind) == (callee, kind)
    assert (one.count, one.size, one.used, one.peak, one.left) == (count, size, used, peak, left)
    assert one.instructions > 50
    assert (one.atomic, one.failed) == (int("ATOMIC" in text), 0)


def test_lifetimes_are_virtual_time(costs: ProfileCosts) -> None:
    # kfree_rcu() waits for a grace period, and then for others to go with it (KFREE_DRAIN_JIFFIES: 5 s).
    assert site(costs, "rcu = kmalloc").lifetime_ns > 10**9
    assert site(costs, "got = kstrdup(").lifetime_ns < 10**5
    assert site(costs, "krealloc(kept").lifetime_ns > 30 * 10**6  # the mutex was held for 30 ms meanwhile


def test_the_peak_is_of_what_is_there_at_a_time(box: Box, ledger: Path) -> None:
    few = used(box, ledger, ["a 3000", "f"] * 4)
    box.reset()
    many = used(box, ledger, ["a 3000"] * 4)
    rows = [site(costs, "return keep(kmalloc(n, GFP_KERNEL)") for costs in (few, many)]
    assert [(row.count, row.most, row.peak) for row in rows] == [(4, 1, 3000), (4, 4, 12000)]
    assert 12_000 < many.resources.peak < few.resources.peak + 12_000
    assert many.resources.peak_used - many.resources.peak >= 4 * (4096 - 3000)


def test_memory_that_no_module_frees_counts_until_it_is_freed(box: Box, ledger: Path) -> None:
    assert site(used(box, ledger, ["r"]), "rcu = kmalloc").left == 1


def test_log_lines_by_place(costs: ProfileCosts) -> None:
    (one,) = costs.resources.logs
    assert one == LogSite("ledger", "run", line_of('pr_info("ledger: a line'), "_printk", 15, 15 * 14, 15, 5)
    assert costs.resources.lines == 15


def test_locks_by_place_and_name(costs: ProfileCosts) -> None:
    mutex, spinlock = costs.resources.locks
    assert (mutex.lock, mutex.name, mutex.taken) == ("mutex", "ledger_mutex", 1)
    assert mutex.place == line_of("mutex_lock(&ledger_mutex)")
    assert 30 * 10**6 <= mutex.longest_ns == mutex.held_ns < 60 * 10**6
    assert mutex.longest_instructions < 10_000  # it slept
    assert (spinlock.lock, spinlock.name, spinlock.place) == (
        "spinlock",
        "ledger_lock",
        line_of("spin_lock(&ledger_lock)"),
    )
    assert 190_000 <= spinlock.longest_ns < 250_000
    assert spinlock.longest_instructions > 1000


def test_interrupts_off_ends_where_another_task_runs(costs: ProfileCosts) -> None:
    longest = costs.resources.interrupts_off[0]
    assert (longest.function, longest.callee, longest.by_kernel) == ("locked", "__udelay", False)
    assert 140_000 <= longest.longest_ns < 200_000
    assert costs.resources.interrupts_off[1].longest_ns < 50_000  # msleep() switches them off, and others go on


def test_system_calls_that_come_to_the_module(costs: ProfileCosts) -> None:
    calls = {one.name: one for one in costs.resources.syscalls}
    assert {name: one.calls for name, one in calls.items()} == {"init_module": 1, "write": len(ALL), "delete_module": 1}
    assert calls["write"].instructions == next(
        one.total for one in costs.entries if one.function.name == "ledger_write"
    )
    assert calls["write"].most < calls["write"].instructions


def test_a_load_waits_for_its_probe_unless_that_is_asynchronous(box: Box, ledger: Path) -> None:
    waits = used(box, ledger, [], probe_ms=50).resources
    box.reset()
    goes_on = used(box, ledger, [], rest=1, probe_ms=50, async_probe=1).resources
    for costs, waited in ((waits, True), (goes_on, False)):
        (probe,) = costs.probes
        assert (probe.driver, probe.device, probe.waited) == ("ledger", "ledger", waited)
        assert probe.ns >= 50 * 10**6
    assert waits.load_ns >= 50 * 10**6 > 10 * 10**6 > goes_on.load_ns


def test_noting_changes_nothing_and_is_the_same_each_time(box: Box, ledger: Path) -> None:
    def life() -> tuple[int, int, list[str]]:
        box.reset()
        before = box.machine.blocks
        module = box.insmod(ledger)
        with box.open("/dev/ledger", "wb") as device:
            for word in ("a 100", "r", "l 3", "h 20", "m 3", "f"):
                device.write(word.encode())
        module.unload()
        return box.machine.blocks - before, box.machine.time, [str(record) for record in box.log.records()]

    plain = life()
    found = []
    for _ in range(2):
        with box.profile(ledger) as profile:
            assert life() == plain
        found.append(profile.costs)
    assert found[0] == found[1]


def test_what_is_under_way_when_the_box_goes_back_is_forgotten(box: Box, ledger: Path) -> None:
    box.insmod(ledger)
    checkpoint = box.checkpoint()
    with box.profile(ledger) as profile:
        for _ in range(3):
            with box.open("/dev/ledger", "wb") as device:
                device.write(b"a 100")
            checkpoint.restore()
    one = site(profile.costs, "return keep(kmalloc(n, GFP_KERNEL)")
    assert (one.count, one.most, one.left, one.peak) == (3, 1, 0, 100)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["l 60"], "run [ledger] writes 60 log lines (ledger.c:"),
        (["t 100"] * 12, "mempool_create_kmalloc_pool(12, 100) keeps 1,200 bytes ready"),
        (["a 1100"] * 8, "a kmem_cache of 1100 bytes saves about 7,552 bytes at the peak of 8 objects"),
        (["h 300"], "locked [ledger] holds the spinlock ledger_lock for "),
        (["i 300"], "locked [ledger] has interrupts off for "),
    ],
    ids=["flood", "atomic", "waste", "spinlock", "interrupts"],
)
def test_notes_with_remedies(words: list[str], said: str, box: Box, ledger: Path) -> None:
    found = remedies(used(box, ledger, words))
    assert len(found) == 1, found
    assert said in found[0]


def test_what_the_kernel_does_by_itself_is_not_noted() -> None:
    numbers = {"size": 100, "bytes": 100_000, "used": 128_000, "peak": 100_000, "left": 0, "lifetime_ns": 1}
    counts = {"count": 1000, "most": 200, "instructions": 10**6, "atomic": 1000, "failed": 0}
    sites = [
        AllocationSite("m", "f", "m.c:1", callee, "kmalloc", **numbers, **counts)
        for callee in ("device_add_disk", "__kmalloc")
    ]
    off = [
        InterruptsOff("m", "f", "", callee, 1, 10**6, 10**6, False) for callee in ("blk_mq_init", "_raw_spin_lock_irq")
    ]
    found = [
        remedies(ProfileCosts("k", (), resources=ResourceCosts(allocations=(one,), interrupts_off=(other,))))
        for one, other in zip(sites, off, strict=True)
    ]
    assert found[0] == []
    assert len(found[1]) == 3


def test_a_probe_that_the_load_waits_for_is_noted(costs: ProfileCosts) -> None:
    assert any("the load waits" in one and "PROBE_PREFER_ASYNCHRONOUS" in one for one in remedies(costs))


def test_tables_of_text(costs: ProfileCosts) -> None:
    text = costs_text(costs)
    for line in (
        "loads, in virtual time: ledger ",
        "  ledger probes ledger: ",
        "memory: 26,",
        "log lines\n",
        "locks\n",
        "interrupts off\n",
        "system calls that come to the module\n",
        "mutex ledger_mutex, locked [ledger] (ledger.c:",
    ):
        assert line in text


def test_plain_data_comes_back_whole_and_older_data_too(costs: ProfileCosts) -> None:
    plain = json.loads(json.dumps(costs.plain()))
    assert ProfileCosts.of_plain(plain) == costs
    older = {key: plain[key] for key in ("format", "kernel", "whole", "ended_by", "lines", "chains")}
    assert ProfileCosts.of_plain(older).chains == costs.chains
    assert ProfileCosts.of_plain(older).resources.allocations == ()


@pytest.mark.parametrize(
    "change",
    [{"locks": 1}, {"logs": [1]}, {"logs": [{}]}, {"memory_peak": -1}, {"syscalls": [{"name": 1}]}],
    ids=["number", "row", "empty", "negative", "name"],
)
def test_damaged_tables_are_refused(change: dict[str, object], costs: ProfileCosts) -> None:
    with pytest.raises(ProfileFormatError):
        ProfileCosts.of_plain({**costs.plain(), **change})


def test_more_memory_and_more_lines_are_a_change(box: Box, ledger: Path) -> None:
    before = used(box, ledger, ["a 100", "l 3"])
    box.reset()
    after = used(box, ledger, ["a 30000", "l 9"])
    found = changed(before, after, 10)
    assert any(one.startswith("bytes of memory at the peak: ") for one in found)
    assert "log lines: 3 -> 9" in found
    assert changed(before, before, 0) == []
    rows = side_by_side([before, after]).splitlines()
    assert any(row.split() == ["3", "9", "3.00", "log", "lines"] for row in rows)


@pytest.mark.parametrize("name", ["trixie_kernel", "sid_kernel", "arm64_kernel"])
def test_other_kernels_have_the_same_tables(name: str, request: pytest.FixtureRequest) -> None:
    kernel: KernelImage = request.getfixturevalue(name)
    ledger = BuiltTestModules(kernel, "costs")("ledger")
    with kobox.boot(kernel) as box:
        costs = used(box, ledger, ALL, rest=10, probe_ms=50)
    smallest = 128 if name == "arm64_kernel" else 32  # ARCH_DMA_MINALIGN
    rows = [
        ("return keep(kmalloc(n, GFP_KERNEL)", "kmalloc", 3, 600, 2 * 128 + 1024, 800),
        ("object = kmalloc(n, GFP_ATOMIC)", "kmalloc", 1, 100, 128, 100),
        ("krealloc(kept[count - 1], n", "kmalloc", 1, 300, 512, 300),
        ("return keep(kmem_cache_alloc(cache", "kmem_cache", 1, 256, 256, 256),
        ("got = vmalloc(n)", "vmalloc", 1, 5000, 8192, 5000),
        ("__get_free_pages(GFP_KERNEL, n)", "pages", 1, 16384, 16384, 16384),
        ("got = kstrdup(", "kmalloc", 1, 20, smallest, 20),
        ("rcu = kmalloc(sizeof(*rcu)", "kmalloc", 1, 120, 128, 120),
    ]
    for text, *expected in rows:
        one = site(costs, text)
        assert [one.kind, one.count, one.size, one.used, one.peak] == expected
        assert one.left == (
            name == "sid_kernel" and "rcu" in text
        )  # freed with others, when there are more (mm/slub.c)
    calls = {one.name: one.calls for one in costs.resources.syscalls}
    assert calls == {"init_module": 1, "write": len(ALL), "delete_module": 1}
    assert [(one.lines, one.dropped) for one in costs.resources.logs] == [(15, 5)]
    locks = {one.lock: one for one in costs.resources.locks}
    assert locks["mutex"].taken == 1
    assert 30 * 10**6 <= locks["mutex"].longest_ns < 60 * 10**6
    assert ("spinlock" in locks) == (name != "arm64_kernel")  # inlined there
    off = costs.resources.interrupts_off[0]  # on arm64 by a function of its own: it is built without inlining
    assert off.function == ("arch_local_irq_disable" if name == "arm64_kernel" else "locked")
    assert 140_000 <= off.longest_ns < 200_000
    assert costs.resources.probes[0].waited
    assert costs.resources.load_ns >= 50 * 10**6
