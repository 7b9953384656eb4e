"""`kobox run prog.bpf.o`: the whole life of an object, as a command."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kobox.images.store import KernelImage
from tests.bpf.objects import PROGRAMS, bpf_object

KOBOX = str(Path(sys.executable).with_name("kobox"))


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([KOBOX, "run", *map(str, words)], capture_output=True, text=True, check=False)


def test_an_object_is_told_from_load_to_verdict(debian_kernel: KernelImage) -> None:
    done = run("-k", debian_kernel.name, bpf_object("kinds", debian_kernel), "limit=2")
    assert done.returncode == 0, done.stderr + done.stdout
    for part in (
        "=> load kinds.bpf.o: tail (tc), caller (tc)",
        " + on_call: attached to sys_enter",
        "caller: ARP: TC_ACT_SHOT, TCP SYN to 80: TC_ACT_SHOT",
        "limit = 2",
        "ring (ringbuf): ",
        " - on_call: detached from sys_enter",
        "<= unload kinds.bpf.o: the kernel has none of its programs any more",
        "ok: verified, attached, detached; no warnings",
    ):
        assert part in done.stdout


def test_as_json_from_source(tmp_path: Path, debian_kernel: KernelImage) -> None:
    source = shutil.copy(PROGRAMS / "kinds.bpf.c", tmp_path)
    done = run("-k", debian_kernel.name, "--json", source)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[0]["kind"] == "load"
    assert events[0]["programs"] == ["tail", "caller", "on_call", "list_maps"]
    assert events[-1] == events[-1] | {"kind": "verdict", "ok": True}
    assert {event["program"] for event in events if event["kind"] == "ran"} >= {"on_call", "caller"}


def test_what_the_verifier_refuses_is_explained(tmp_path: Path, debian_kernel: KernelImage) -> None:
    source = tmp_path / "bad.bpf.c"
    source.write_text(
        '#include "vmlinux.h"\n#include <bpf/bpf_helpers.h>\n'
        'SEC("xdp")\nint bad(struct xdp_md *ctx)\n{\n\tchar *data = (void *)(long)ctx->data;\n\n\treturn data[3];\n}\n'
        'char LICENSE[] SEC("license") = "GPL";\n'
    )
    done = run("-k", debian_kernel.name, source)
    assert done.returncode == 1
    for part in (
        "the verifier refuses bad",
        "invalid access to packet",
        "return data[3];",
        "rule: packet data",
        "data_end",
    ):
        assert part in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "libbpf cannot read it"), (b"\x7fELF" + bytes(60), "libbpf cannot read it"), (None, "no such file")],
)
def test_bad_files_are_one_error(tmp_path: Path, content: bytes | None, words: str) -> None:
    file = tmp_path / "x.bpf.o"
    if content is not None:
        file.write_bytes(content)
    done = run(file)
    assert done.returncode == 1
    assert words in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("fuzz", "--inputs", "bad.json"), "is not what `kobox bpf fuzz --json` prints"),
        (("fuzz", "--program", "nothing"), "has no program nothing"),
        (("cover", "limit=x"), "limit=x: a number is wanted"),
    ],
)
def test_wrong_words_to_bpf_are_one_error(
    words: tuple[str, ...], said: str, tmp_path: Path, debian_kernel: KernelImage
) -> None:
    (tmp_path / "bad.json").write_text('[{"kept": [{"packet": "zz"}]}]')
    command, *rest = words
    line = [KOBOX, "bpf", command, str(bpf_object("kinds", debian_kernel)), "-k", debian_kernel.name, *rest]
    done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
