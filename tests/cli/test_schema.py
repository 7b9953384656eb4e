"""What --json prints is what the schemas say: each command is run, and what it printed is validated."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from kobox import cli
from kobox.apps.plain_life import Difference, difference_facts
from kobox.apps.saved_boxes import SavedBox
from kobox.cli.json_output import format_of, kinds, schema, to_json
from kobox.images.store import KernelImage
from kobox.monitor.baseline import Drift
from kobox.monitor.events import EventKind, ModuleEvent
from kobox.monitor.fleet import HostView, fleet_data
from kobox.monitor.never_loaded import NeverLoaded
from kobox.monitor.status import KernelModules, MonitoredModule
from tests.bpf.objects import bpf_object
from tests.building import SOURCES, BuiltTestModules

KOBOX = str(Path(sys.executable).with_name("kobox"))
CLI = Path(cli.__file__).parent
TREE, KERNEL = "TREE", "KERNEL"
RUNS: dict[str, list[tuple[str, ...]]] = {
    "run": [("run", "hello.ko"), ("run", "notified.ko"), ("run", "params.ko", "nonsense=1"), ("run", "left.ko")],
    "check": [("check", "--no-elsewhere", "-j", "1", "--time", "2", "faulty.ko")],
    "explain": [("explain", "hello.ko"), ("explain", "empty.ko")],
    "explain-log": [("explain", "--log", "load.log")],
    "explain-log-modules": [("explain", "--log", "load.log", "hello.ko")],
    "run-bpf": [("run", "kinds.bpf.o"), ("run", "empty.bpf.o")],
    "bpf-matrix": [("explain", "kinds.bpf.o"), ("bpf", "matrix", "-k", KERNEL, "empty.bpf.o")],
    "bpf-list": [("bpf", "list", "kinds.bpf.o")],
    "bpf-cover": [("bpf", "cover", "kinds.bpf.o")],
    "bpf-fuzz": [("bpf", "fuzz", "--runs", "20", "kinds.bpf.o")],
    "build": [("build", "-o", "out", "source"), ("build", "-o", "out2", "wrong")],
    "verify": [("verify", "hello.ko")],
    "trace": [("trace", "params.ko")],
    "profile": [("profile", "hello.ko")],
    "profile-compare": [("profile", "--compare", "number=1,2", "params.ko")],
    "profile-scale": [("profile", "--scale", "number=1..3", "params.ko")],
    "inspect": [("inspect", "hello.ko")],
    "graph": [("graph", "btrfs"), ("graph", "hello.ko")],
    "graph-life": [("graph", "--life", "hello.ko")],
    "graph-map": [("graph", "--map", "hello.ko")],
    "graph-calls": [("graph", "--calls", "hello.ko")],
    "graph-removal": [("graph", "--remove", "libcrc32c")],
    "graph-change": [("graph", "--compare", TREE, "btrfs")],
    "doctor": [("doctor",)],
    "cache": [("cache",)],
    "kernel": [("kernel", "default")],
    "kernel-list": [("kernel", "list"), ("kernel", "list", "--size")],
    "matrix": [("matrix", "hello.ko")],
    "matrix-bisect": [("matrix", "--bisect", "hello.ko")],
    "learn-list": [("learn", "list")],
    "learn-check": [("learn", "check", "class/ada/01-hello")],
    "learn-results": [("learn", "results", "--lesson", "hello", "class")],
    "keys-new": [("keys", "new", "-o", "keys", "mine")],
    "keys-status": [("keys", "status", "hello.ko")],
    "package": [("package", "-o", "packages", "--maintainer", "A <a@b.c>", "--version", "1", "source")],
    "modinfo": [("modinfo", "hello.ko", "params.ko")],
    "modprobe-depends": [("modprobe", "-d", TREE, "-S", TREE, "-D", "btrfs")],
    "modprobe-resolve": [("modprobe", "-d", TREE, "-S", TREE, "-R", "fs-btrfs")],
    "modprobe-config": [("modprobe", "-d", TREE, "-S", TREE, "-c")],
}


def values(text: str) -> Iterator[object]:
    """One value, or one a line."""
    try:
        yield json.loads(text)
    except ValueError:
        yield from map(json.loads, text.splitlines())


def integers(value: object) -> Iterator[int]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from integers(one)
    elif isinstance(value, int):
        yield value


def must_fit(kind: str, text: str) -> None:
    validator = Draft202012Validator(json.loads(schema(kind)))
    found = list(values(text))
    assert found
    for value in found:
        validator.validate(value)
        assert all(abs(one) < 1 << 53 for one in integers(value)), "readers of JSON do not keep it"


@pytest.fixture(scope="module")
def place(modules: BuiltTestModules, debian_kernel: KernelImage, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with what the commands of the table name."""
    place = tmp_path_factory.mktemp("schema")
    for name in ("hello", "notified", "params", "faulty"):
        (place / f"{name}.ko").symlink_to(modules(name))
    (place / "left.ko").symlink_to(BuiltTestModules(debian_kernel, "left")("left"))
    for name in ("source", "wrong"):
        (place / name).mkdir()
    (place / "source" / "hello.c").write_bytes((SOURCES / "hello.c").read_bytes())
    (place / "wrong" / "wrong.c").write_text("int init_module(void) { return nothing(); }\n")
    (place / "empty.ko").touch()
    (place / "empty.bpf.o").touch()
    (place / "kinds.bpf.o").symlink_to(bpf_object("kinds", debian_kernel))
    (place / "load.log").write_text(
        "hello: version magic '6.1.0 SMP' should be '6.2.0 SMP '\n"
        "modprobe: ERROR: could not insert 'hello': Exec format error\n"
    )
    (place / "class" / "ada" / "01-hello").mkdir(parents=True)
    return place


@pytest.mark.parametrize(("kind", "words"), [(kind, words) for kind, rows in RUNS.items() for words in rows], ids=str)
def test_what_a_command_prints_is_what_its_schema_says(
    kind: str, words: tuple[str, ...], place: Path, debian_kernel: KernelImage
) -> None:
    tree = {
        "-k": debian_kernel.name,
        "-d": str(debian_kernel.directory),
        "-S": debian_kernel.release,
        "--compare": debian_kernel.name,
    }
    pairs = zip(words, ("", *words), strict=False)
    words = tuple(tree[before] if word in (TREE, KERNEL) else word for word, before in pairs)
    environment = {**os.environ, "XDG_STATE_HOME": str(place / "state")}
    done = subprocess.run(
        [KOBOX, *words, "--json"], capture_output=True, text=True, check=False, cwd=place, env=environment
    )
    must_fit(kind, done.stdout)


MODULE = MonitoredModule("hello", 16384, -1, ("user",), "live", "OE", "1", "A1", {"number": "1"})
MADE: dict[str, object] = {
    "box-list": [asdict(SavedBox("mine", "6.1", 1 << 20, 1.5))],
    "monitor-status": KernelModules("6.1", {"hello": MODULE}, 4096).plain(),
    "monitor-event": ModuleEvent(1.5, EventKind.LOADED, "hello", "16384 bytes").plain(),
    "monitor-fleet": fleet_data([HostView("far", KernelModules("6.1", {"hello": MODULE}, 4096)), HostView("down")]),
    "monitor-never-loaded": asdict(NeverLoaded(("a",), 2, 1.5)),
    "monitor-drift": asdict(Drift(("a",), (), (("b", "size", "1", "2"),), (), ())),
    "lsmod": [
        {"name": "a", "size": 1, "refcount": None, "users": [], "state": "live", "address": "0x0", "taint": ""},
    ],
    "run-compare": difference_facts(3, Difference(2, "n = 1", None)),
    "static-nodes": [{"module": "fuse", "name": "fuse", "kind": "c", "major": 10, "minor": 229}],
}


@pytest.mark.parametrize("kind", MADE)
def test_what_this_machine_may_not_have_is_what_its_schema_says(kind: str) -> None:
    must_fit(kind, to_json(kind, MADE[kind]))  # type: ignore[arg-type]


def test_every_schema_has_its_command_and_version() -> None:
    assert set(kinds()) == RUNS.keys() | MADE.keys()
    for kind in kinds():
        read = json.loads(schema(kind))
        Draft202012Validator.check_schema(read)
        assert read["title"]
        assert "`kobox " in read["description"]
        row = read["items"] if read["type"] == "array" else read
        assert row["properties"]["format"]["const"] == format_of(kind)


def test_no_command_prints_json_that_has_no_schema() -> None:
    printing = {
        path.stem for path in CLI.rglob("*.py") if '"--json"' in path.read_text() or '("json",)' in path.read_text()
    }
    described = " ".join(json.loads(schema(kind))["description"] for kind in kinds())
    paths = {"links", "new"}
    commands = printing - paths - {"bpf_code"} | {"bpf list", "bpf cover", "bpf fuzz"}
    assert not {name for name in commands if f"kobox {name}" not in described}


def test_the_command() -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([KOBOX, "schema", *words], capture_output=True, text=True, check=False)

    listed = run()
    assert [line.split()[0] for line in listed.stdout.splitlines()] == kinds()
    assert json.loads(run("check").stdout)["title"].startswith("What a check found")
    for wrong in ("nonsense", "../json_output", ""):
        done = run(wrong)
        assert (done.returncode, done.stdout) == (1, "")
        assert "no schema" in done.stderr


def test_the_page_names_every_kind() -> None:
    page = (Path(__file__).parents[2] / "docs" / "json.md").read_text()
    missing = [kind for kind in kinds() if f"| `{kind}` |" not in page]
    assert not missing
