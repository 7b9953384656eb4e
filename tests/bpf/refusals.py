"""`make check-bpf`: every rule of the verifier broken and mended, on one kernel or several; as a table.

python -m tests.bpf.refusals KERNEL…        a row a rule: what each kernel says
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from functools import cache

from kobox.box.boot.boot import boot
from kobox.box.box import Box
from kobox.box.bpf.bpf_object import BpfLoadError
from kobox.bpf.verifier_log import explain
from kobox.bpf.verifier_rules import RULES, rule_for
from kobox.images.store import KernelImage, Store
from tests.bpf.objects import PROGRAMS, bpf_object
from tests.conftest import _suite_kernel

_DEFINED = re.compile(r"^(?:(bad|good)\(|SEC.* __naked (bad|good)_)(\w+)", re.MULTILINE)
# Program -> the file that it is in, without ".bpf.c".
FILES = {
    f"{one or other}_{name}": path.name.removesuffix(".bpf.c")
    for path in sorted(PROGRAMS.glob("refusals*.bpf.c"))
    for one, other, name in _DEFINED.findall(path.read_text())
}
NAMES = tuple(name.removeprefix("bad_") for name in FILES if name.startswith("bad_"))


SUITES = ("bookworm", "trixie", "sid")
# What newer kernels take that older ones refuse: rule -> how the releases that take it begin.
TAKEN = {"null_arithmetic": ("7.",), "call_depth": ("7.",)}
# A packet's pointer that a helper has made stale is a number to the verifier.
_SAME = {"stale_packet": "scalar-pointer"}


def rule_of(name: str) -> str:
    """The name of the rule that bad_NAME breaks."""
    return _SAME.get(name, name.replace("_", "-"))


@dataclass(frozen=True)
class Outcome:
    """How one program fared: `rule` is the name of the rule that was told, "" where it was taken."""

    name: str
    refused: bool
    rule: str
    words: str


@cache
def refusals_object(name: str, kernel: KernelImage) -> bytes:
    return bpf_object(name, kernel).read_bytes()


def outcome(box: Box, kernel: KernelImage, name: str) -> Outcome:
    """Load one program of refusals.bpf.c, alone."""
    try:
        loaded = box.bpf.load_one(refusals_object(FILES[name], kernel), name)
    except BpfLoadError as error:
        told = explain(error.verifier) if error.verifier else None
        rule = told.rule if told else rule_for(" ".join(error.log))
        words = told.said[0] if told else " / ".join(error.log)
        return Outcome(name, True, rule.name if rule else "?", words[:150])
    loaded.unload()
    return Outcome(name, False, "", "")


def main() -> int:
    wrong = 0
    store = Store()
    for kernel in [store.get(name) for name in sys.argv[1:]] or [_suite_kernel(store, suite) for suite in SUITES]:
        given = kernel.name
        with boot(kernel) as box:
            for name in NAMES:
                bad, good = (outcome(box, kernel, f"{kind}_{name}") for kind in ("bad", "good"))
                taken = given.startswith(TAKEN.get(name, ("-",)))
                fits = not bad.refused if taken else bad.refused and bad.rule == rule_of(name)
                mark = "ok" if fits and not good.refused else "??"
                wrong += mark != "ok"
                print(f"{mark} {given[:4]:<4} {name:<18} {bad.rule or 'taken':<18} {bad.words}", flush=True)
                if good.refused:
                    print(f"      good: {good.words}", flush=True)
    print(len(NAMES), "rules,", len(RULES), "rows,", wrong, "wrong")
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main())
