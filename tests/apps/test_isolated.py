"""`kobox.isolated`: a box behind the wall, with Python's own functions and plain results."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

import kobox
from kobox.apps.isolated import PlainData
from kobox.box.box import Box
from kobox.errors import BoxError
from kobox.images.store import KernelImage
from kobox.isolation import landlock
from tests.building import BuiltTestModules


def test_a_function_gets_a_box_and_its_result_comes_back(debian_kernel: KernelImage, modules: BuiltTestModules) -> None:
    def work(box: Box) -> PlainData:
        handle = box.insmod(modules("params"), number=7)
        return {"release": box.release, "parameters": dict(handle.parameters), "list": [1, 2.5, None, True]}

    told = kobox.isolated(work, kernel=debian_kernel, read=[modules("params").parent])
    assert isinstance(told, dict)
    assert told["release"] == debian_kernel.release
    assert told["parameters"]["number"] == "7"  # type: ignore[index, call-overload]
    assert told["list"] == [1, 2.5, None, True]


def test_modprobe_works_behind_the_wall(debian_kernel: KernelImage) -> None:
    assert kobox.isolated(lambda box: list(box.modprobe("dummy").loaded), kernel=debian_kernel) == ["dummy"]


@pytest.mark.skipif(not landlock.abi(), reason="this machine has no Landlock")
def test_it_can_do_nothing_to_this_machine(debian_kernel: KernelImage, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("1")

    def work(box: Box) -> PlainData:
        done = []
        for name, attempt in {
            "read": (tmp_path / "secret").read_text,
            "write": lambda: (tmp_path / "new").write_text("x"),
            "socket": socket.socket,
            "fork": os.fork,
        }.items():
            try:
                attempt()
            except OSError:
                continue
            done.append(name)
        return done

    assert kobox.isolated(work, kernel=debian_kernel) == []
    assert os.listdir(tmp_path) == ["secret"]


def test_errors_say_what_went_wrong(debian_kernel: KernelImage, modules: BuiltTestModules) -> None:
    with pytest.raises(BoxError, match=r"params.ko: not loaded: Invalid argument"):
        kobox.isolated(
            lambda box: box.insmod(modules("params"), number="x") and None,
            kernel=debian_kernel,
            read=[modules("params").parent],
        )
    with pytest.raises(BoxError, match="ZeroDivisionError: "):
        kobox.isolated(lambda box: 1 // 0, kernel=debian_kernel)
    with pytest.raises(TypeError, match="not JSON serializable"):
        kobox.isolated(lambda box: box, kernel=debian_kernel)  # type: ignore[arg-type, return-value]
    with pytest.raises(BoxError, match="no-such-kernel: no such kernel"):
        kobox.isolated(lambda box: None, kernel="no-such-kernel")


def test_one_that_is_killed_or_never_ends(debian_kernel: KernelImage) -> None:
    with pytest.raises(BoxError, match="ended with status 3 before it had a result"):
        kobox.isolated(lambda box: os._exit(3), kernel=debian_kernel)

    def for_ever(box: Box) -> PlainData:
        while True:
            time.sleep(1)

    with pytest.raises(BoxError, match="did not end within 3 s"):
        kobox.isolated(for_ever, kernel=debian_kernel, seconds=3)
    with pytest.raises(BoxError, match="MemoryError"):
        kobox.isolated(lambda box: len(bytearray(5 << 30)), kernel=debian_kernel, memory=4 << 30)
