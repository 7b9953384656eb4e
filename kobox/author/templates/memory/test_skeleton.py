import errno

import pytest


def test_objects_are_taken_and_given_back(box, ko):
    module = box.insmod(ko, count=50)
    assert "skeleton: 50 objects of 120 bytes" in box.log.text()
    module.unload()
    assert f"skeleton: the numbers add up to {sum(range(50))}" in box.log.text()


def test_it_can_be_loaded_again_and_again(box, ko):
    for _ in range(5):
        box.insmod(ko, count=1000).unload()


def test_a_count_that_is_no_number_is_refused(box, ko):
    with pytest.raises(OSError) as refused:
        box.insmod(ko, "count=many")
    assert refused.value.errno == errno.EINVAL
