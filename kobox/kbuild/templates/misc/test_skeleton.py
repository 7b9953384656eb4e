def test_it_counts_how_often_it_is_opened(box, module):
    loaded = box.insmod(module)
    node = box.path("/dev/skeleton")
    assert node.read_text() == "1\n"
    assert node.read_text() == "2\n"
    loaded.unload()
    assert not node.exists()
