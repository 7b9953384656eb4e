"""What a monitor saw comes back from a file as it was, look by look."""

from __future__ import annotations

from pathlib import Path

import pytest

from kobox.box.box import Box
from kobox.monitor import BoxLog, ModuleMonitor, look
from kobox.monitor.module_facts import module_facts
from kobox.monitor.recording import KernelRecorder, KernelRecording, RecordingError
from tests.building import BuiltTestModules
from tests.monitor.test_monitor import FixedKernel, module_line

HEAD = '{"recording": 1, "host": "h", "release": "6.1", "began": 1.0}\n'


def replayed(recording: KernelRecording) -> list[str]:
    """The events of a recording from its start."""
    monitor = ModuleMonitor(recording, recording, clock=lambda: recording.time)
    told = []
    for index in range(recording.length):
        recording.seek(index)
        told += [f"{event.time:.0f} {event}" for event in monitor.poll(parameters=True)]
    return told


def test_a_box_recorded_and_seen_again(box: Box, modules: BuiltTestModules, tmp_path: Path) -> None:
    now = [1000.0]
    recorder = KernelRecorder(box, tmp_path / "box", "a box", now[0])
    monitor = ModuleMonitor(recorder, BoxLog(box.log.records), clock=lambda: now[0], recorder=recorder)
    told = [str(event) for event in monitor.poll()]
    box.insmod(modules("params"))
    seen = []
    for second in range(1, 21):
        now[0] += 1
        if second == 5:
            box.write_bytes("/sys/module/params/parameters/number", b"9")
        if second == 15:
            box.rmmod("params")
        if second == 16:
            with pytest.raises(OSError, match=r"Exec format|No such file|Unknown symbol"):
                box.init_module(modules("kuser").read_bytes())
        told += [f"{now[0]:.0f} {event}" for event in monitor.poll()]
        seen.append(look(recorder, monitor.status, parameters=False))
    recorder.close()
    recording = KernelRecording(tmp_path / "box")
    assert (recording.host, recording.release, recording.length) == ("a box", box.release, 21)
    assert replayed(recording) == [line for line in told if "taint" not in line or "kernel" in line]
    recording.seek(10)
    assert look(recording).modules["params"].parameters["number"] == "9"
    assert any("sections" in line for line in module_facts(recording, "params"))
    assert look(recording).modules.keys() == seen[9].modules.keys()
    recording.seek(2)  # back
    assert look(recording).modules["params"].parameters["number"] == "42"
    with pytest.raises(OSError, match="Read-only"):
        recording.write_bytes("/sys/module/params/parameters/number", b"1")


def test_a_kill_costs_one_line_and_a_full_disk_none(tmp_path: Path) -> None:
    kernel = FixedKernel({"/proc/modules": module_line("a")})
    recorder = KernelRecorder(kernel, tmp_path / "r", "h", 0)
    monitor = ModuleMonitor(recorder, clock=lambda: 0, recorder=recorder)
    monitor.poll()
    whole = (tmp_path / "r").read_bytes()
    recorder._file.close()  # what a full disk does to a write is made by hand
    recorder._file = open("/dev/full", "w", encoding="utf-8")  # noqa: SIM115
    kernel.files["/proc/modules"] += module_line("b")
    monitor.poll()
    assert "No space left" in monitor.problems[0]
    recorder._file = (tmp_path / "r").open("a", encoding="utf-8")
    monitor.poll()
    assert monitor.problems == []
    recorder.close()
    recording = KernelRecording(tmp_path / "r")
    recording.seek(1)
    assert sorted(look(recording).modules) == ["a", "b"]
    for cut in (len(whole) + 1, len(whole) + 20):  # a line that was not ended
        (tmp_path / "cut").write_bytes((tmp_path / "r").read_bytes()[:cut])
        assert KernelRecording(tmp_path / "cut").length == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "{}\n",
        "[]\n",
        "null\n{}\n",
        "[" * 100_000 + "\n",
        HEAD,
        HEAD.replace("1,", "2,", 1) + '{"at": 0}\n',
        HEAD.replace("1.0", '"x"') + '{"at": 0}\n',
        HEAD + "[]\n",
        HEAD + "{}\n",
        HEAD + '{"at": NaN}\n',
        HEAD + '{"at": 0, "log": [1]}\n',
        HEAD + '{"at": 0, "log": [[9, "x", "y"]]}\n',
        HEAD + '{"at": 0, "dirs": {"/": 5}}\n',
        HEAD + '{"at": 0, "dirs": 5}\n',
    ],
    ids=range(16),
)
def test_what_is_no_recording(text: str, tmp_path: Path) -> None:
    (tmp_path / "r").write_text(text)
    with pytest.raises(RecordingError, match="no recording"):
        KernelRecording(tmp_path / "r")


@pytest.mark.parametrize("path", ["none", "none/r", "."])
def test_a_file_that_cannot_be(path: str, tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=path.rpartition("/")[0] or path):
        KernelRecording(tmp_path / path)
    if path != "none":
        with pytest.raises(RecordingError, match="directory"):
            KernelRecorder(FixedKernel({}), tmp_path / path, "h", 0)
