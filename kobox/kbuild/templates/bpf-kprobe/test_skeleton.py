"""Run by `pytest`: skeleton.bpf.o in a fresh box for each test."""

from pathlib import Path

import kobox
import pytest


@pytest.fixture(scope="session")
def program():
    [made] = kobox.build(Path(__file__).parent)
    return made


def test_a_file_that_is_not_there_is_told(box, program):
    with box.bpf.load(program) as loaded:
        loaded.attach()
        with pytest.raises(FileNotFoundError):
            box.read_text("/no/such/file")
        [event] = loaded.maps["events"].records("struct skeleton_event")
        assert (event.name, event.error) == ("/no/such/file", -2)


def test_a_file_that_is_there_is_not(box, program):
    with box.bpf.load(program) as loaded:
        loaded.attach()
        under_way = list(loaded.maps["names"])
        box.read_text("/proc/version")
        assert loaded.maps["events"].records() == []
        assert list(loaded.maps["names"]) == under_way
