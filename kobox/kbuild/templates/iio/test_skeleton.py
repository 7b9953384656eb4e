import runpy
from pathlib import Path

Skeleton = runpy.run_path(str(Path(__file__).with_name("skeleton_model.py")))["Skeleton"]


def test_voltages_are_read(box, module):
    box.modprobe("industrialio")
    box.insmod(module)
    converter = box.plug(Skeleton())
    assert converter.driver == "skeleton"
    device = box.path("/sys/bus/iio/devices/iio:device0")
    assert (device / "name").read_text() == "skeleton\n"
    assert [(device / f"in_voltage{n}_raw").read_text() for n in (0, 1)] == ["20000\n", "40000\n"]
    assert (device / "in_voltage_scale").read_text() == "0.050000\n"
    converter.volts = (3.2, 0.0)
    assert (device / "in_voltage0_raw").read_text() == "64000\n"
