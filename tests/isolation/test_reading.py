"""`kobox modinfo` of a stranger's file reads that file, and can do nothing else from then on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kobox.isolation import landlock, seccomp
from tests.building import BuiltTestModules

pytestmark = pytest.mark.skipif(
    not landlock.abi() or not seccomp.available(), reason="this machine has no Landlock or no seccomp filters"
)

CODE = """
import json, os, socket, subprocess, sys
from kobox.cli import own_process
from kobox.cli.kmod import modinfo

own_process.claim()

status, rights = modinfo.main(sys.argv[1:], "modinfo"), {}
for name, attempt in {
    "read itself": lambda: open(sys.argv[-1], "rb").close(),
    "read": lambda: open("/etc/passwd").close(),
    "list": lambda: os.listdir("/root"),
    "write": lambda: open("written", "w").close(),
    "connect": socket.socket,
    "start": lambda: subprocess.run(["/bin/true"]),
    "fork": lambda: os.fork() or os._exit(0),
}.items():
    try:
        attempt()
    except PermissionError:
        rights[name] = False
    else:
        rights[name] = True
print("\\n" + json.dumps([status, rights]))
"""


def rights_after(place: Path, *words: str) -> tuple[int, dict[str, bool], str]:
    command = [sys.executable, "-c", CODE, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=place)
    *said, last = done.stdout.splitlines()
    status, rights = json.loads(last)
    return status, rights, "\n".join(said)


@pytest.mark.parametrize("kind", ["plain", "xz", "zst", "link"])
@pytest.mark.parametrize("words", [[], ["--json"], ["-F", "license"]])
def test_only_its_files_are_read(modules: BuiltTestModules, tmp_path: Path, kind: str, words: list[str]) -> None:
    path = tmp_path / {"xz": "hello.ko.xz", "zst": "hello.ko.zst"}.get(kind, "hello.ko")
    if kind == "link":
        path.symlink_to(modules("hello"))
    else:
        pack = {"xz": ["xz", "-c"], "zst": ["zstd", "-qc"]}.get(kind, ["cat"])
        path.write_bytes(subprocess.run([*pack, str(modules("hello"))], capture_output=True, check=True).stdout)
    status, rights, said = rights_after(tmp_path, *words, str(path))
    assert status == 0
    assert "GPL" in said
    assert [name for name, may in rights.items() if may] == ["read itself"]


def test_names_are_looked_up_in_the_tree_as_before(tmp_path: Path) -> None:
    status, rights, _ = rights_after(tmp_path, "-b", str(tmp_path), "hello", "/etc/passwd")
    assert status == 1
    assert rights["write"]


def test_the_command_gives_up_its_rights(modules: BuiltTestModules, tmp_path: Path) -> None:
    """Its output goes to a pipe that nobody reads, so that it stays while its status is looked at."""
    path = tmp_path / "hello.ko"
    path.write_bytes(modules("hello").read_bytes())
    command = [str(Path(sys.executable).with_name("kobox")), "modinfo", *([str(path)] * 2000)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline().startswith(b"filename:")
        status = Path(f"/proc/{child.pid}/status").read_text()
        child.stdout.close()
    assert "Seccomp:\t2" in status


def test_a_program_that_calls_it_keeps_its_rights(modules: BuiltTestModules) -> None:
    code = (
        "import sys, socket\nfrom kobox.cli.kmod import modinfo\nmodinfo.main(sys.argv[1:], 'modinfo')\nsocket.socket()"
    )
    subprocess.run([sys.executable, "-c", code, str(modules("hello"))], check=True, stdout=subprocess.DEVNULL)
