import runpy
from pathlib import Path

Skeleton = runpy.run_path(str(Path(__file__).with_name("skeleton_model.py")))["Skeleton"]


def test_the_driver_finds_its_card_and_adds_up(box, module):
    loaded = box.insmod(module)
    card = box.plug(Skeleton())
    assert card.driver == "skeleton"
    assert card.sum.value == 42
    assert "the sum is 42" in box.log.text()
    loaded.unload()
    assert card.driver is None
    assert "the sum was 42" in box.log.text()


def test_the_card_is_pulled_out(box, module):
    box.insmod(module)
    card = box.plug(Skeleton())
    card.unplug()
    assert not (box.path("/sys/bus/pci/devices") / card.address).exists()
