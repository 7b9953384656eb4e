import struct


def test_the_driver_finds_its_device(box, module):
    loaded = box.insmod(module)
    box.syscall("nanosleep", struct.pack("qq", 1, 0), None)  # the probe is asynchronous: give it a second
    assert "skeleton skeleton: ready" in box.log.text()
    device = box.path("/sys/bus/platform/devices/skeleton")
    assert (device / "driver").exists()
    assert (device / "value").read_text() == "42\n"
    (device / "value").write_text("7")
    assert (device / "value").read_text() == "7\n"
    loaded.unload()
    assert "skeleton skeleton: switched off" in box.log.text()
    assert not device.exists()


def test_unloading_waits_for_a_probe_that_is_under_way(box, module):
    box.insmod(module).unload()
    assert box.log.text().count("ready") == box.log.text().count("switched off")
