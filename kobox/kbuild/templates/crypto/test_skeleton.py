def test_the_hash_is_registered_and_right(box, module):
    loaded = box.insmod(module)
    assert "skeleton: self-test passed" in box.log.text()
    known = box.path("/proc/crypto").read_text()
    entry = next(part for part in known.split("\n\n") if "driver       : skeleton-generic" in part)
    assert "digestsize   : 8" in entry
    assert "module       : skeleton" in entry
    loaded.unload()
    assert "skeleton-generic" not in box.path("/proc/crypto").read_text()
