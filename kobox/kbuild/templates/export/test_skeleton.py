import errno

import pytest


def test_the_user_needs_the_provider(box, modules):
    with pytest.raises(OSError) as refused:
        box.insmod(modules["skeleton_user"])
    assert refused.value.errno == errno.ENOENT
    assert "Unknown symbol skeleton_add" in box.log.text()


def test_the_provider_cannot_go_while_it_is_used(box, modules):
    provider = box.insmod(modules["skeleton"])
    user = box.insmod(modules["skeleton_user"])
    assert "skeleton_user: the sum is 42, call number 1" in box.log.text()
    with pytest.raises(OSError) as busy:
        provider.unload()
    assert busy.value.errno == errno.EAGAIN
    user.unload()
    provider.unload()
