"""The devices of `kobox run`: models from a file, phantoms, and what is said when there is none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kobox.apps.hardware import load_model
from kobox.devices.ready import READY
from kobox.errors import KoboxError
from tests.building import BuiltTestModules

MODEL = """
from kobox.devices import PciDevice, Register

class Counter(PciDevice):
    vendor_id, device_id = 0x1234, 0x11E8
    bar0 = PciDevice.memory(0x1000)
    bar2 = PciDevice.ports(0x20)
"""


def run(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kobox", "run", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_model_from_a_file_is_plugged_in_and_taken(modules: BuiltTestModules, tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(MODEL)
    done = run("-k", modules.kernel.name, modules("pcicounter"), "--plug", tmp_path / "model.py")
    assert done.returncode == 0, done.stderr
    assert " + PCI 0000:00:01.0: Counter 1234:11e8\n=> load pcicounter\n" in done.stdout
    assert "PCI 0000:00:01.0: taken by pcicounter\n" in done.stdout


def test_a_phantom_is_made_up_for_a_driver(modules: BuiltTestModules) -> None:
    done = run("-k", modules.kernel.name, modules("pcifinicky"), "--phantom", "--json")
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    (plugged,) = [event for event in events if event["kind"] == "plugged"]
    assert (plugged["vendor"], plugged["device"]) == (0x1234, 0x11E9)
    assert "BAR 0 + 0x0 = 0xc0ffee01" in plugged["text"]
    assert {"address": "0000:00:01.0", "driver": "pcifinicky"}.items() <= next(
        event for event in events if "taken by" in event["text"]
    ).items()


def test_a_phantom_for_what_is_no_pci_driver(modules: BuiltTestModules) -> None:
    done = run("-k", modules.kernel.name, modules("hello"), "--phantom")
    assert done.returncode == 1
    assert "none of these modules is a driver that loads, of a device that can be made up" in done.stderr
    assert "Traceback" not in done.stderr


WRONG = [
    ("", "missing.py", "no such file"),
    ("1 / 0", "model.py", "ZeroDivisionError"),
    ("def f(:", "model.py", "SyntaxError"),
    ("x = 1", "model.py", "which class? (it defines: none)"),
    (MODEL, "model.py:Missing", "no device class 'Missing' (it defines: Counter)"),
    (MODEL + "class Other(Counter): pass\n", "model.py", "which class? (it defines: Counter, Other)"),
    (MODEL + "    def __init__(self): raise OSError('no')\n", "model.py", "Counter() raised OSError: no"),
]


@pytest.mark.parametrize(("text", "spec", "said"), WRONG, ids=[said for _, _, said in WRONG])
def test_a_model_that_cannot_be_had(tmp_path: Path, text: str, spec: str, said: str) -> None:
    (tmp_path / "model.py").write_text(text)
    with pytest.raises(KoboxError) as caught:
        load_model(str(tmp_path / spec))
    assert said in str(caught.value)


READY_WRONG = [
    ("nvme", "it needs an argument"),
    ("nvme=nowhere.img", "nowhere.img"),
    ("lm75=hot", "could not convert"),
    ("usb-serial=1", "takes no argument"),
    ("e1000=12:34", "a hardware address has six bytes"),
    ("e1000=zz", "e1000=zz"),
    ("toaster", "no ready model"),
]


@pytest.mark.parametrize(("spec", "words"), READY_WRONG, ids=[spec for spec, _ in READY_WRONG])
def test_what_is_no_ready_model(spec: str, words: str) -> None:
    with pytest.raises(KoboxError, match=words):
        load_model(spec)


@pytest.mark.parametrize("name", READY)
def test_every_ready_model_can_be_made(name: str) -> None:
    argument = "=8M" if READY[name].needed else ""
    assert load_model(name + argument).bus


def test_a_ready_model_for_a_driver_from_a_file(modules: BuiltTestModules) -> None:
    done = run("-k", modules.kernel.name, modules("edu"), "--plug", "edu", "--plug", "scsi-disk=8M")
    assert done.returncode == 0, done.stderr
    assert " + PCI 0000:00:01.0: Edu 1234:11e8\n" in done.stdout
    assert " + virtio virtio0: VirtioScsi\n" in done.stdout
    assert "PCI 0000:00:01.0: taken by edu\n" in done.stdout


def test_ready_models_are_listed() -> None:
    done = run("x.ko", "--plug", "help")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(READY)


@pytest.mark.parametrize(
    ("riddle", "kept"),
    [
        ("number", "RegisterAt(0, 0x0): (Step(0, 0xffffffff, 0xc0ffee01),),"),
        ("ring", "shared memory 0 + 0x40"),
        ("interrupt", "# BAR 0 + 0x10: 4, 1 times"),
        ("size", "bar0 = PciDevice.memory(0x2000)"),
        ("file", "firmware={'kobox/puzzle.bin': 300}"),
        ("companion", "companions=((4660, 39321),)"),
        ("twice", "Step(2, 0xffffffff, 0x3333)"),
    ],
)
def test_what_was_found_is_a_model_that_works(
    modules: BuiltTestModules, tmp_path: Path, riddle: str, kept: str
) -> None:
    driver, model = modules("pcipuzzle"), tmp_path / "model.py"
    found = run("-k", modules.kernel.name, driver, f"riddle={riddle}", "--phantom", "--write-model", model)
    assert found.returncode == 0, found.stderr
    text = model.read_text()
    assert kept in text
    assert "pcipuzzle.c line " in text  # where what it says has mattered
    done = run("-k", modules.kernel.name, driver, f"riddle={riddle}", "--plug", model)
    assert done.returncode == 0, done.stderr
    assert "taken by pcipuzzle\n" in done.stdout


def test_a_model_cannot_be_written_without_a_phantom(modules: BuiltTestModules, tmp_path: Path) -> None:
    done = run("-k", modules.kernel.name, modules("hello"), "--write-model", tmp_path / "model.py")
    assert done.returncode == 2
    assert "--write-model writes what --phantom finds" in done.stderr
