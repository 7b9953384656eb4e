"""Run by `pytest`: skeleton.bpf.o in a fresh box for each test."""

from pathlib import Path

import kobox
import pytest


@pytest.fixture(scope="session")
def program():
    [made] = kobox.build(Path(__file__).parent)
    return made


def test_it_lists_what_proc_lists(box, program):
    with box.bpf.load(program) as loaded:
        head, *lines = loaded.programs["skeleton_tasks"].read().decode().splitlines()
    assert head.split() == ["PID", "PARENT", "NAME"]
    listed = {line.split()[0] for line in lines}
    assert {name for name in box.listdir("/proc") if name.isdigit()} <= listed


def test_kernel_threads_are_left_out(box, program):
    with box.bpf.load(program, variables={"kernel_threads": False}) as loaded:
        text = loaded.programs["skeleton_tasks"].read().decode()
    assert "kthreadd" not in text
