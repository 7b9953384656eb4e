import errno

import pytest


def test_values_are_read_and_written(box, module):
    loaded = box.insmod(module)
    directory = box.path("/sys/kernel/skeleton")
    assert (directory / "colour").read_text() == "red\n"
    (directory / "colour").write_text("blue\n")
    (directory / "level").write_text("0x10\n")
    assert (directory / "colour").read_text() == "blue\n"
    assert (directory / "level").read_text() == "16\n"
    assert (directory / "changes").read_text() == "2\n"
    loaded.unload()
    assert not directory.exists()


@pytest.mark.parametrize(("name", "text"), [("colour", "pink"), ("level", "many")])
def test_what_makes_no_sense_is_refused(box, module, name, text):
    loaded = box.insmod(module)
    with pytest.raises(OSError) as refused:
        (box.path("/sys/kernel/skeleton") / name).write_text(text)
    assert refused.value.errno == errno.EINVAL
    assert box.path("/sys/kernel/skeleton/changes").read_text() == "0\n"
    loaded.unload()
