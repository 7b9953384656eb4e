"""`kobox graph` as a person calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kobox.cli.main import run
from kobox.images.store import KernelImage
from tests.building import BuiltTestModules


def graph(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = run("graph", list(words), prog="kobox graph")
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_what_a_module_needs_and_what_needs_it(debian_kernel: KernelImage, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = graph(capsys, "btrfs", "-k", debian_kernel.name)
    assert status == 0
    assert "├─ raid6_pq (120 KiB), 3 symbols\n" in out
    assert "\n└─ dm_raid" in graph(capsys, "raid456", "--users", "-k", debian_kernel.name)[1]
    assert json.loads(graph(capsys, "btrfs", "--json", "-k", debian_kernel.name)[1])["roots"] == ["btrfs"]
    assert "needed by most" in graph(capsys, "-k", debian_kernel.name)[1]
    assert "first, as they use it: dm_raid" in graph(capsys, "raid456", "--remove", "-k", debian_kernel.name)[1]


def test_two_kernels(
    debian_kernel: KernelImage, trixie_kernel: KernelImage, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = graph(capsys, "btrfs", "-k", debian_kernel.name, "--compare", trixie_kernel.name)
    assert status == 1
    assert "- btrfs needs zstd_compress" in out
    assert graph(capsys, "btrfs", "-k", debian_kernel.name, "--compare", debian_kernel.name)[:2] == (
        0,
        "no difference\n",
    )


def test_a_picture_in_a_file(debian_kernel: KernelImage, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "btrfs.mmd"
    assert graph(capsys, "btrfs", "-k", debian_kernel.name, "-o", str(target)) == (0, "", "")
    assert target.read_text().startswith("flowchart TD\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nosuch"], "Module nosuch not found"),
        (["btrfs", "-o", "x.gif"], "'gif' is no format of pictures"),
        (["btrfs", "-o", "noending"], "'' is no format of pictures"),
        (["--tree", "."], "no modules below it"),
        (["missing.ko"], "missing.ko: No such file"),
        (["btrfs", "-o", "no/such/x.dot"], "no/such"),
    ],
    ids=["module", "format", "suffix", "tree", "file", "directory"],
)
def test_bad_input_ends_in_one_sentence(
    words: list[str],
    said: str,
    debian_kernel: KernelImage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = graph(capsys, *words, *(() if "--tree" in words else ("-k", debian_kernel.name)))
    assert (status, out) == (1, "")
    assert said in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["--life", "--map", "--calls"])
def test_a_file_that_is_no_module(
    option: str,
    debian_kernel: KernelImage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "no.ko").write_text("hello\n")
    status, out, err = graph(capsys, "no.ko", option, "-k", debian_kernel.name)
    assert (status, out) == (1, "")
    assert err.startswith("kobox graph: error: no.ko: offset 0x0: not an ELF object")


def test_what_a_box_has_loaded(
    debian_kernel: KernelImage, modules: BuiltTestModules, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(modules(name)) for name in ("kbase", "kuser")]
    status, out, _ = graph(capsys, "--box", *files, "-k", debian_kernel.name)
    assert status == 0
    assert out.splitlines()[:3] == [
        "kbase (16 KiB, used once, taints OE)",
        "kuser (16 KiB, used 0 times, taints OE)",
        "└─ kbase (16 KiB, used once, taints OE)",
    ]
    status, out, _ = graph(capsys, "--box", *files[:1], "devname:loop-control", "-k", debian_kernel.name, "--json")
    assert (status, json.loads(out)["roots"]) == (0, ["kbase"])


@pytest.mark.parametrize(
    "words",
    [["--box"], ["--box", "loop", "--host"], ["--box", "loop", "--life"], ["--box", "loop", "--tree", "."]],
    ids=str,
)
def test_a_box_and_another_place(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        graph(capsys, *words)
