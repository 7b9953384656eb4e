import errno

import pytest


@pytest.mark.parametrize(("words", "total"), [("", 42), ("number=-2", 0), ("count=0x10 number=1", 17)])
def test_parameters_are_read(box, module, words, total):
    box.insmod(module, words).unload()
    assert f"skeleton: the sum was {total}" in box.log.text()


@pytest.mark.parametrize(
    ("words", "number"),
    [
        ("count=201", errno.EINVAL),
        ("count=256", errno.EINVAL),
        ("number=x", errno.EINVAL),
        ("number=2147483647", errno.EOVERFLOW),
    ],
)
def test_wrong_ones_are_refused(box, module, words, number):
    with pytest.raises(OSError) as refused:
        box.insmod(module, words)
    assert refused.value.errno == number
