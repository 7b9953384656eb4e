import errno

import pytest


def test_each_write_adds_an_entry(box, module):
    loaded = box.insmod(module)
    file = box.path("/proc/skeleton")
    assert file.read_text() == ""
    file.write_text("first\n")
    file.write_text("second\n")
    assert file.read_text() == "first\nsecond\n"
    loaded.unload()
    assert not file.exists()


def test_a_long_list_is_read_whole(box, module):
    loaded = box.insmod(module)
    for number in range(200):
        box.path("/proc/skeleton").write_text(f"entry number {number:5} of a long list")
    assert box.path("/proc/skeleton").read_text().count("\n") == 200
    loaded.unload()


def test_an_entry_too_long_is_refused(box, module):
    loaded = box.insmod(module)
    with pytest.raises(OSError) as refused:
        box.path("/proc/skeleton").write_text("x" * 64)
    assert refused.value.errno == errno.EINVAL
    loaded.unload()
