import runpy
from pathlib import Path

Skeleton = runpy.run_path(str(Path(__file__).with_name("skeleton_model.py")))["Skeleton"]


def test_the_driver_finds_its_device(box, module):
    box.modprobe("usbcore")
    loaded = box.insmod(module)
    device = box.plug(Skeleton())
    assert device.driver == "skeleton"
    interface = box.path(device.sysfs[1])
    (interface / "send").write_text("to the device")
    assert device.text == b"to the device"
    assert (interface / "count").read_text() == "13\n"
    device.unplug()
    assert "gone" in box.log.text()
    loaded.unload()
