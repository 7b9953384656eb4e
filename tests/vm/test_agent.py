"""The first program of a virtual machine is what its source says, and an ELF file as the kernel wants it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from kobox.vm import agent

SOURCE = Path(agent.__file__).with_name("agent.S")


def test_the_bytes_are_the_sources(tmp_path: Path) -> None:
    made, code = tmp_path / "agent.o", tmp_path / "agent.bin"
    subprocess.run(["as", "--64", SOURCE, "-o", made], check=True)
    subprocess.run(["objcopy", "-O", "binary", "-j", ".text", made, code], check=True)
    assert code.read_bytes() == agent.CODE


def test_it_is_a_static_program_with_a_segment_of_code_and_one_to_write(tmp_path: Path) -> None:
    path = tmp_path / "init"
    path.write_bytes(agent.agent_elf())
    told = subprocess.run(["readelf", "-hlW", path], capture_output=True, text=True, check=True).stdout
    assert "EXEC (Executable file)" in told
    assert f"Entry point address:               {agent.TEXT + 176:#x}" in told
    loads = [line.split() for line in told.splitlines() if line.strip().startswith("LOAD")]
    assert [(load[2], "".join(load[6:-1])) for load in loads] == [
        (f"{agent.TEXT:#018x}", "RE"),
        (f"{agent.BUFFER:#018x}", "RW"),
    ]
