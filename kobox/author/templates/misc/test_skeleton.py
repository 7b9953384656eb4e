def test_it_counts_how_often_it_is_opened(box, ko):
    module = box.insmod(ko)
    node = box.path("/dev/skeleton")
    assert node.read_text() == "1\n"
    assert node.read_text() == "2\n"
    module.unload()
    assert not node.exists()
