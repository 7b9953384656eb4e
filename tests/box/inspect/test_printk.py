"""The kernel log as records."""

from __future__ import annotations

import pytest

from kobox.box.box import Box
from kobox.errors import KernelPanicError
from tests.building import BuiltTestModules


def said(box: Box, module: str) -> list[str]:
    return [record.text.removeprefix(f"{module}: ") for record in box.log.of(module)]


def test_records_have_sequence_time_level_and_text(box: Box, modules: BuiltTestModules) -> None:
    module = box.insmod(modules("chatty"))
    records = [record for record in module.log if "level" in record.text]
    assert [(record.level, record.text) for record in records] == [(n, f"chatty: level {n}") for n in range(8)]
    assert [record.level_name for record in records[:3]] == ["emerg", "alert", "crit"]
    assert {record.facility for record in records} == {0}
    sequence = [record.seq for record in box.log]
    assert sequence == list(range(len(sequence)))
    times = [record.time for record in box.log]
    assert times == sorted(times)
    assert str(records[0]).endswith("] chatty: level 0")
    assert box.log.lost == 0


def test_the_log_begins_with_the_kernel_s_first_words(box: Box) -> None:
    assert box.log.records()[0].text.startswith("Linux version ")
    assert box.log.records()[0].time == 0
    assert len(box.log) > 100
    assert box.log.text().startswith("[    0.000000] Linux version ")


def test_continued_lines_are_one_record(box: Box, modules: BuiltTestModules) -> None:
    box.insmod(modules("chatty"))
    assert "first half, second half" in said(box, "chatty")


def test_rate_limited_and_once(box: Box, modules: BuiltTestModules) -> None:
    box.insmod(modules("chatty"))
    limited = [text for text in said(box, "chatty") if text.startswith("ratelimited")]
    assert limited == [*(f"ratelimited {n} of 25" for n in range(10)), "ratelimited 0 of 2", "ratelimited 1 of 2"]
    assert any(record.text == "chatty_burst: 15 callbacks suppressed" for record in box.log)
    assert said(box, "chatty").count("once") == 1


def test_following_the_log(box: Box, modules: BuiltTestModules) -> None:
    start = box.log.next_seq
    module = box.insmod(modules("good"))
    first = box.log.since(start)
    assert [record.text for record in first][-1] == "good: loaded with n=0"
    module.unload()
    assert [record.text for record in box.log.since(first[-1])] == ["good: unloaded"]
    assert box.log.since(module) == box.log.since(start)
    position = box.log.position()
    box.write_bytes("/dev/kmsg", b"<4>from user space\n")
    (record,) = box.log.since_position(position)
    assert (record.text, record.level, record.facility) == ("from user space", 4, 1)


def test_what_a_driver_says_names_its_device(box: Box, modules: BuiltTestModules) -> None:
    module = box.insmod(modules("asyncprobe"))
    box.sleep(2)
    devices = {record.device for record in module.log if "probe" in record.text and record.device[0]}
    assert devices == {("platform", "+platform:asyncprobe")} or devices == {("platform", "asyncprobe")}


def test_more_than_the_ring_holds_is_complete(box: Box, modules: BuiltTestModules) -> None:
    box.insmod(modules("chatty"), lines=30_000)
    lines = [int(record.text.split()[2]) for record in box.log if record.text.startswith("chatty: line")]
    assert lines == list(range(30_000))
    assert box.log.lost == 0


def test_what_was_overwritten_before_it_was_read_is_counted(box: Box, modules: BuiltTestModules) -> None:
    box.insmod(modules("chatty"), lines=30_000)
    box.log.forget()
    records = box.log.records()
    assert records[-1].text.startswith("chatty: line 29999 of many")
    assert 5000 < len(records) < 30_000
    assert box.log.lost == records[0].seq > 0
    assert [record.seq for record in records] == list(range(records[0].seq, records[-1].seq + 1))


def test_after_a_reset_the_log_is_that_of_then(box: Box, modules: BuiltTestModules) -> None:
    before = box.log.text()
    box.insmod(modules("good"))
    assert box.log.text() != before
    box.reset()
    assert box.log.text() == before


def test_the_log_of_a_dead_box_can_be_read(box: Box, modules: BuiltTestModules) -> None:
    with pytest.raises(KernelPanicError):
        box.insmod(modules("faulty"), what="panic")
    assert not box.alive
    assert any(record.text.startswith("Kernel panic - not syncing: faulty wants it so") for record in box.log)


def test_what_one_module_said(box: Box, modules: BuiltTestModules) -> None:
    box.insmod(modules("kbase"))
    box.insmod(modules("kuser"))
    assert said(box, "kuser") == ["kbase_fn(1) = 2, kbase_gpl_fn(21) = 42"]
