"""What kobox's tools do that kmod's don't: the list of docs/kmod-tools.md."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kmod_fixtures import Answer, Tree, kobox


@pytest.fixture
def base(cloud: Tree, tmp_path: Path) -> tuple[str, ...]:
    (tmp_path / "empty.conf").touch()
    return ("-d", str(cloud.root), "-S", cloud.release, "-C", str(tmp_path / "empty.conf"))


def test_json_of_modprobe(base: tuple[str, ...]) -> None:
    steps = json.loads(kobox("modprobe", *base, "--json", "-D", "btrfs").output)
    assert steps[-1]["module"] == "btrfs"
    assert steps[-1]["reason"] == "asked for"
    assert json.loads(kobox("modprobe", *base, "--json", "-R", "fs-btrfs").output)[0]["module"] == "btrfs"
    assert "softdeps" in json.loads(kobox("modprobe", *base, "--json", "-c").output)


def test_json_of_modinfo(cloud: Tree) -> None:
    (report,) = json.loads(kobox("modinfo", "-b", cloud.root, "-k", cloud.release, "--json", "loop").output)
    assert report["name"] == "loop"
    assert report["fields"]["license"] == ["GPL"]
    assert {"name": "max_part", "type": "int"}.items() <= report["parameters"][1].items()
    assert report["signature"]["sig_id"] == "PKCS#7"


def test_a_misspelt_module_gets_a_suggestion(base: tuple[str, ...], cloud: Tree) -> None:
    assert "Did you mean btrfs" in kobox("modprobe", *base, "-D", "btrsf").errors
    assert "Did you mean btrfs" in kobox("modinfo", "-b", cloud.root, "-k", cloud.release, "btrsf").errors


def test_missing_indexes_get_a_hint(tmp_path: Path) -> None:
    (tmp_path / "lib/modules/1.0").mkdir(parents=True)
    answer = kobox("modprobe", "-d", tmp_path, "-S", "1.0", "-D", "x")
    assert answer.status == 1
    assert "run `depmod`" in answer.errors


def test_modinfo_takes_fields_in_any_case_and_refuses_unknown_ones(cloud: Tree) -> None:
    where = ("-b", str(cloud.root), "-k", cloud.release)
    assert kobox("modinfo", *where, "-F", "License", "loop") == (0, "GPL\n", "")
    answer = kobox("modinfo", *where, "-F", "licence", "loop")
    assert answer.status == 1
    assert "Did you mean license" in answer.errors
    # A field that modules may have but this one has not is no mistake.
    assert kobox("modinfo", *where, "-F", "firmware", "loop") == (0, "", "")


def test_an_error_names_file_and_offset(tmp_path: Path) -> None:
    (tmp_path / "bad.ko").write_bytes(b"\x7fELF\2\1\1" + bytes(100))
    answer = kobox("modinfo", tmp_path / "bad.ko")
    assert answer.status == 1
    assert f"{tmp_path}/bad.ko: offset 0x10:" in answer.errors


def test_a_link_named_like_a_tool_is_that_tool(cloud: Tree, tmp_path: Path) -> None:
    command = tmp_path / "modprobe"
    command.symlink_to(Path(sys.executable).parent / "kobox")
    words = [str(command), "-d", str(cloud.root), "-S", cloud.release, "-R", "fs-btrfs"]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "btrfs\n"
    failed = subprocess.run([*words, "--nosuch"], capture_output=True, text=True, check=False)
    assert (failed.returncode, failed.stderr) == (1, "modprobe: unrecognized option '--nosuch'\n")


def test_modprobe_imports_little() -> None:
    """Startup counts: 60 ms for `modprobe -D` in all."""
    code = "import sys, kobox.cli.kmod.modprobe; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"dataclasses", "pathlib", "json", "subprocess", "ctypes", "lzma", "difflib"} & set(done.stdout.split())


@pytest.mark.parametrize("tool", ["lsmod", "insmod", "rmmod", "modprobe", "modinfo", "depmod", "kmod"])
def test_help_and_version(tool: str, kmod: Callable[..., Answer]) -> None:
    assert kobox(tool, "--help").status == 0
    ours, theirs = kobox(tool, "--version"), kmod(tool, "--version")
    assert ours.status == theirs.status == 0
    assert ours.output.splitlines()[0] == theirs.output.splitlines()[0]


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("lsmod", ("x",)),
        ("insmod", ()),
        ("insmod", ("/nonexistent.ko",)),
        ("insmod", ("--bad",)),
        ("rmmod", ()),
        ("rmmod", ("nosuch",)),
        ("rmmod", ("-x",)),
        ("kmod", ("static-nodes", "-f", "bad")),
        ("kmod", ("nocmd",)),
        ("kmod", ("-x",)),
        ("kmod", ()),
    ],
)
def test_errors_of_the_other_tools_end_as_kmods_do(
    tool: str, arguments: tuple[str, ...], kmod: Callable[..., Answer]
) -> None:
    ours, theirs = kobox(tool, *arguments), kmod(tool, *arguments)
    assert ours.status == theirs.status == 1
    assert ours.errors.splitlines()[-1:] == theirs.errors.splitlines()[-1:]


def test_static_nodes_in_every_format(kmod: Callable[..., Answer], cloud: Tree) -> None:
    from kobox.kmod.module_tree import ModuleTree
    from kobox.kmod.static_nodes import render, static_nodes

    nodes = static_nodes(ModuleTree.of(cloud.release, root=str(cloud.root)))
    (node,) = [node for node in nodes if node.module == "btrfs"]
    assert (node.name, node.kind, node.major, node.minor) == ("btrfs-control", "c", 10, 234)
    text = (cloud.path / "modules.devname").read_text()
    assert render(nodes, "devname") == text.partition("\n")[2]
    assert "c! /dev/btrfs-control 0600 - - - 10:234\n" in render(nodes, "tmpfiles")
    assert "Module: btrfs\n\tDevice node: /dev/btrfs-control\n" in render(nodes, "human")


@pytest.fixture
def devname(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The modules.devname of this machine's release, as the command sees it."""
    from kobox.kmod.module_tree import ModuleTree

    monkeypatch.setattr(ModuleTree, "of", lambda release: ModuleTree(str(tmp_path)))
    return tmp_path / "modules.devname"


def test_static_nodes_as_json_and_to_a_file(devname: Path, tmp_path: Path) -> None:
    devname.write_text("# comment\nbtrfs btrfs-control c10:234\nsnd snd/timer c116:33\n")
    expected = {"format": 1, "module": "snd", "name": "snd/timer", "kind": "c", "major": 116, "minor": 33}
    assert json.loads(kobox("kmod", "static-nodes", "--json").output)[1] == expected
    assert kobox("kmod", "static-nodes", "--json", "-o", tmp_path / "new/nodes.json") == (0, "", "")
    assert json.loads((tmp_path / "new/nodes.json").read_text())[1] == expected
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["nodes.json"]


@pytest.mark.parametrize(
    ("options", "content", "status", "text"),
    [
        ((), None, 0, "not found - ignoring"),
        ((), "btrfs btrfs-control\n", 1, "bad line"),
        ((), "btrfs x c10:x\n", 1, "bad line"),
        (("-o", "{place}/file/below"), "a b c1:2\n", 1, "{place}/file"),
        (("-o", "{place}"), "a b c1:2\n", 1, "{place}"),
    ],
)
def test_static_nodes_that_cannot_be_read_or_written(
    options: tuple[str, ...], content: str | None, status: int, text: str, devname: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    if content is not None:
        devname.write_text(content)
    answer = kobox("kmod", "static-nodes", *(option.format(place=tmp_path) for option in options))
    assert (answer.status, answer.output) == (status, "")
    assert text.format(place=tmp_path) in answer.errors


class FakeSyslog:
    """What stands in for Python's syslog: (tool, facility, level, line)."""

    LOG_CONS, LOG_DAEMON = 2, 3 << 3

    def __init__(self) -> None:
        self.records: list[tuple[str, int, int, str]] = []
        self._as: tuple[str, int] = ("", 0)

    def openlog(self, name: str, options: int, facility: int) -> None:
        self._as = (name, facility)

    def syslog(self, level: int, line: str) -> None:
        self.records.append((*self._as, level, line))


def test_messages_go_to_the_system_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Facility, level and text are those that kmod 34.2 sends to /dev/log; a hint is a record of its own."""
    log = FakeSyslog()
    monkeypatch.setitem(sys.modules, "syslog", log)
    assert kobox("modprobe", "-s", "-d", tmp_path, "-S", "9.9", "xyz") == (1, "", "")
    assert kobox("rmmod", "--syslog", "no-such") == (1, "", "")
    assert kobox("insmod", "-s", "/nonexistent") == (1, "", "")
    assert kobox("lsmod", "-s", "x") == (1, "", "")
    assert log.records == [
        ("modprobe", 24, 2, f"FATAL: Module xyz not found in directory {tmp_path}/lib/modules/9.9"),
        ("modprobe", 24, 2, "There is no such directory: no modules are installed for this kernel release."),
        ("rmmod", 24, 3, "ERROR: Module no_such is not currently loaded"),
        ("insmod", 24, 3, "ERROR: could not load module /nonexistent: No such file or directory"),
        ("lsmod", 24, 3, "ERROR: too many arguments provided."),
    ]
    log.records.clear()
    assert kobox("modprobe", "-s", "-q", "-d", tmp_path, "-S", "9.9", "xyz").status == 1
    assert log.records == []
