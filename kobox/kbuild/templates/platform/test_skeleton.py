import errno
import runpy
from pathlib import Path

import pytest

Skeleton = runpy.run_path(str(Path(__file__).with_name("skeleton_model.py")))["Skeleton"]


def plugged(box, device):
    box.plug(device)
    box.sleep(1)  # the probe is asynchronous: give it a second
    return box.path(device.sysfs[0])


def test_the_driver_finds_its_device_and_counts(box, module):
    loaded = box.insmod(module)
    device = Skeleton()
    count = plugged(box, device) / "count"
    assert device.driver == "skeleton"
    for step in (1, 2, 39):
        count.write_text(str(step))
    assert count.read_text() == "42\n"
    assert device.count.value == 42
    loaded.unload()
    assert "switched off" in box.log.text()
    assert device.driver is None


def test_a_step_that_the_firmware_does_not_allow(box, module):
    box.insmod(module)
    count = plugged(box, Skeleton()) / "count"
    with pytest.raises(OSError) as failed:
        count.write_text("101")
    assert failed.value.errno == errno.ERANGE


def test_a_device_that_does_not_answer(box, module):
    class Dead(Skeleton):
        def written(self, register):
            pass

    box.insmod(module)
    count = plugged(box, Dead()) / "count"
    with pytest.raises(OSError) as failed:
        count.write_text("1")
    assert failed.value.errno == errno.ETIMEDOUT


def test_a_device_without_its_property_is_refused(box, module):
    class Bare(Skeleton):
        properties = {}

    box.insmod(module)
    device = Bare()
    plugged(box, device)
    assert device.driver is None
    assert "no acme,limit" in box.log.text()


def test_unloading_waits_for_a_probe_that_is_under_way(box, module):
    loaded = box.insmod(module)
    box.plug(Skeleton())
    loaded.unload()
    assert box.log.text().count("ready") == box.log.text().count("switched off")
