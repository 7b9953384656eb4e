import runpy
from pathlib import Path

Skeleton = runpy.run_path(str(Path(__file__).with_name("skeleton_model.py")))["Skeleton"]


def test_the_driver_finds_its_card_and_adds_up(box, module):
    loaded = box.insmod(module)
    card = box.plug(Skeleton())
    assert card.driver == "skeleton"
    total = box.path("/sys/bus/pci/devices") / card.address / "sum"
    for number in (1, 2, 39):
        total.write_text(str(number))
    assert total.read_text() == "42\n"
    assert card.sum.value == 42
    loaded.unload()
    assert card.driver is None


def test_the_card_is_pulled_out(box, module):
    box.insmod(module)
    card = box.plug(Skeleton())
    card.unplug()
    assert not (box.path("/sys/bus/pci/devices") / card.address).exists()
