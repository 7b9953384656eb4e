import errno
import runpy
from pathlib import Path

import pytest

Skeleton = runpy.run_path(str(Path(__file__).with_name("skeleton_model.py")))["Skeleton"]


def test_the_driver_finds_its_chip(box, module):
    box.insmod(module)
    chip = box.plug(Skeleton())
    assert chip.driver == "skeleton"
    level = box.path(chip.sysfs[0]) / "level"
    assert level.read_text() == "7\n"
    level.write_text("200")
    assert chip.level == 200


def test_another_chip_is_refused(box, module):
    class Other(Skeleton):
        initial = bytes([0x33, 0])

    box.insmod(module)
    assert box.plug(Other()).driver is None
    assert "not a skeleton: it says 0x33" in box.log.text()


def test_a_chip_that_is_gone(box, module):
    box.insmod(module)
    chip = box.plug(Skeleton())
    level = box.path(chip.sysfs[0]) / "level"
    chip.write_byte = chip.read_byte = lambda *_: chip.refuse()
    with pytest.raises(OSError) as failed:
        level.read_text()
    assert failed.value.errno == errno.ENXIO
