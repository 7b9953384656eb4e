import runpy
from pathlib import Path

Skeleton = runpy.run_path(str(Path(__file__).with_name("skeleton_model.py")))["Skeleton"]


def test_lines_in_and_out(box, module):
    box.insmod(module)
    controller = box.plug(Skeleton())
    assert controller.driver == "skeleton"
    gpio = box.path("/sys/class/gpio")
    (base,) = [int((chip / "base").read_text()) for chip in gpio.iterdir() if chip.name.startswith("gpiochip")]
    for line in (0, 5):
        (gpio / "export").write_text(str(base + line))
    (gpio / f"gpio{base}" / "direction").write_text("out")
    (gpio / f"gpio{base}" / "value").write_text("1")
    assert (controller.direction.value, controller.outputs.value) == (1, 1)
    assert (gpio / f"gpio{base + 5}" / "value").read_text() == "0\n"
    controller.wires = 1 << 5
    assert (gpio / f"gpio{base + 5}" / "value").read_text() == "1\n"
