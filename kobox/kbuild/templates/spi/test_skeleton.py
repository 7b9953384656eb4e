import runpy
from pathlib import Path

Skeleton = runpy.run_path(str(Path(__file__).with_name("skeleton_model.py")))["Skeleton"]


def test_the_driver_finds_its_chip(box, module):
    box.insmod(module)
    chip = box.plug(Skeleton())
    assert chip.driver == "skeleton"
    level = box.path(chip.sysfs[0]) / "level"
    assert level.read_text() == "7\n"
    level.write_text("200")
    assert chip.registers[1] == 200


def test_another_chip_is_refused(box, module):
    class Other(Skeleton):
        identity = 0x33

    box.insmod(module)
    assert box.plug(Other()).driver is None
    assert "not a skeleton: it says 0x33" in box.log.text()
