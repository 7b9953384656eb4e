def test_it_says_hello_and_goodbye(box, ko):
    module = box.insmod(ko)
    assert "skeleton: hello" in box.log.text()
    module.unload()
    assert "skeleton: goodbye" in box.log.text()
