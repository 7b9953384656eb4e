import pytest


def test_variables_are_files(box, module):
    loaded = box.insmod(module)
    directory = box.path("/sys/kernel/debug/skeleton")
    assert (directory / "summary").read_text() == "limit 100, quiet\n"
    (directory / "limit").write_text("21")
    (directory / "verbose").write_text("Y")
    assert (directory / "summary").read_text().startswith("limit 21, verbose\nloaded at ")
    assert (directory / "doubled").read_text() == "42\n"
    (directory / "doubled").write_text("8")
    assert (directory / "limit").read_text() == "4\n"
    with pytest.raises(OSError):
        (directory / "doubled").write_text("7")
    loaded.unload()
    assert not directory.exists()
