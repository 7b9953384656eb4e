"""Calls and loads as a real kernel's ftrace tells them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kobox.box.box import Box
from kobox.monitor import ModuleMonitor
from kobox.monitor.tracing import CallCounter, TracepointSource, module_event
from kobox.monitor.uevents import ModuleUevent
from tests.building import BuiltTestModules
from tests.monitor.test_monitor import FixedKernel, module_line

LOADED = "        modprobe-612     [000] .....     9.250000: module_load: hello OE\n"
FREED = "           rm od-1-613     [001] d..1.    10.000000: module_free: hello\n"


@pytest.mark.parametrize(
    ("line", "event"),
    [
        (LOADED, ModuleUevent("hello", True, "modprobe[612]")),
        (FREED, ModuleUevent("hello", False, "rm od-1[613]")),
        ("  a-1 (    1) [000] ..... 1.0: module_load: x\n", ModuleUevent("x", True, "a[1]")),
        ("  a-1 [000] ..... 1.0: module_get: x call_site=y refcnt=2\n", None),
        ("  a-1 [000] ..... 1.0: tracing_mark_write: module_load\n", None),
        ("# tracer: nop\n", None),
        ("", None),
    ],
)
def test_lines_of_a_trace(line: str, event: ModuleUevent | None) -> None:
    assert module_event(line) == event


def test_every_call_is_counted_also_those_that_no_longer_fit(box: Box, modules: BuiltTestModules) -> None:
    place = "/sys/kernel/tracing/instances/own"
    box.mkdir(place)
    box.write_bytes(f"{place}/set_event", b"module:module_load\nmodule:module_free\n")
    box.insmod(modules("params"))
    counter = CallCounter(box, "params")
    assert sorted(box.listdir("/sys/kernel/tracing/instances")) == [f"kobox-{os.getpid()}", "own"]
    assert counter.sample().calls == 0
    counts = []
    for times in (1, 5):
        for number in range(times):
            box.write_bytes("/sys/module/params/parameters/even", b"%d" % (2 * number))
        found = counter.sample()
        counts.append(found.calls)
        assert 0 < found.seconds < 10
        assert found.per_second == found.calls / found.seconds
    assert counts == [1, 5]
    assert found.functions == (("even_set", 6),)
    counter.close()
    assert box.listdir("/sys/kernel/tracing/instances") == ["own"]
    box.rmmod("params")
    told = [one for line in box.read_text(f"{place}/trace").splitlines() if (one := module_event(line))]
    assert [(one.module, one.added) for one in told] == [("params", True), ("params", False)]
    assert all(one.by.startswith("kobox[") for one in told)
    box.rmdir(place)


def test_a_module_that_is_not_there_leaves_no_instance(box: Box) -> None:
    with pytest.raises(OSError, match="no function that ftrace knows"):
        CallCounter(box, "none")
    assert box.listdir("/sys/kernel/tracing/instances") == []


def test_who_loaded_a_module_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "trace_pipe")
    source = TracepointSource(str(tmp_path))
    assert source.problem == ""
    assert (tmp_path / "set_event").read_text() == "module:module_load\nmodule:module_free\n"
    kernel = FixedKernel({"/proc/modules": module_line("a")})
    monitor = ModuleMonitor(kernel, uevents=source)
    with (tmp_path / "trace_pipe").open("w") as pipe:
        pipe.write(LOADED + LOADED.replace("hello", "short") + FREED.replace("hello", "short") + FREED[:30])
        pipe.flush()
        kernel.files["/proc/modules"] += module_line("hello")
        told = [str(event) for event in monitor.poll()]
        pipe.write(FREED[30:])
        pipe.flush()
        kernel.files["/proc/modules"] = module_line("a")
        told += [str(event) for event in monitor.poll()]
    source.close()
    assert told == [
        "loaded short: by modprobe[612]",
        "unloaded short: by rm od-1[613]",
        "loaded hello: 16384 bytes, by modprobe[612]",
        "unloaded hello: by rm od-1[613]",
    ]


def test_a_machine_without_tracepoints_is_told(tmp_path: Path) -> None:
    source = TracepointSource(str(tmp_path / "none"))
    assert "that takes root and tracefs" in source.problem
    assert (source.drain(), source.fileno()) == ([], -1)
    source.close()
