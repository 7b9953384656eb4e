def test_it_says_hello_and_goodbye(box, module):
    loaded = box.insmod(module)
    assert "skeleton: hello" in box.log.text()
    loaded.unload()
    assert "skeleton: goodbye" in box.log.text()
