import errno

import pytest


def test_parameters_are_set_when_loading(box, module):
    loaded = box.insmod(module, count=2, whom="you", loud=True, sizes="1,2,39")
    assert box.log.text().count("skeleton: hello, you!") == 2
    assert "skeleton: 3 sizes, 42 in all" in box.log.text()
    loaded.unload()


def test_the_writable_ones_change_while_loaded(box, module):
    loaded = box.insmod(module)
    parameters = box.path("/sys/module/skeleton/parameters")
    (parameters / "count").write_text("7")
    assert (parameters / "count").read_text() == "7\n"
    (parameters / "percent").write_text("80")
    loaded.unload()
    assert "skeleton: percent is 80 at the end" in box.log.text()


def test_a_value_out_of_range_is_refused(box, module):
    with pytest.raises(OSError) as refused:
        box.insmod(module, percent=101)
    assert refused.value.errno == errno.ERANGE
    loaded = box.insmod(module)
    with pytest.raises(OSError) as refused:
        box.path("/sys/module/skeleton/parameters/percent").write_text("-1")
    assert refused.value.errno == errno.ERANGE
    loaded.unload()
