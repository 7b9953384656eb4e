import errno

import pytest


def test_objects_are_taken_and_given_back(box, module):
    loaded = box.insmod(module, count=50)
    assert "skeleton: 50 objects of 120 bytes" in box.log.text()
    loaded.unload()
    assert f"skeleton: the numbers add up to {sum(range(50))}" in box.log.text()


def test_it_can_be_loaded_again_and_again(box, module):
    for _ in range(5):
        box.insmod(module, count=1000).unload()


def test_a_count_that_is_no_number_is_refused(box, module):
    with pytest.raises(OSError) as refused:
        box.insmod(module, "count=many")
    assert refused.value.errno == errno.EINVAL
