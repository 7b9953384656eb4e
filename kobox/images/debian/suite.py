"""Which suite of Debian this machine runs (os-release(5))."""

from __future__ import annotations

from pathlib import Path

_DEFAULT_SUITE = "bookworm"


def machine_suite(os_release: Path = Path("/etc/os-release")) -> str:
    """This machine's suite of Debian, or bookworm when it runs something else."""
    try:
        lines = os_release.read_text().splitlines()
    except OSError:
        return _DEFAULT_SUITE
    facts = dict(line.split("=", 1) for line in lines if "=" in line)
    if facts.get("ID", "").strip("\"'") != "debian":
        return _DEFAULT_SUITE
    # Only unstable and testing lack VERSION_ID; both call themselves by testing's codename.
    return facts.get("VERSION_CODENAME", "sid").strip("\"'") if "VERSION_ID" in facts else "sid"


# Ports that are older than a suite's: (the first suite that has it, the suites before it).
_BEGAN = {"riscv64": ("trixie", frozenset({"buster", "bullseye", "bookworm"}))}


def port_suite(port: str) -> str:
    """The suite that packages of a port come from, if none is named: this machine's, or the first one that has it."""
    here = machine_suite()
    first, before = _BEGAN.get(port, (here, frozenset()))
    return first if here in before else here
