"""The verifier's refusals, taken apart: real programs that break its rules, and logs of hostile text."""

from __future__ import annotations

import random
import re

import pytest

from kobox.box.box import Box
from kobox.bpf.verifier_log import explain
from kobox.bpf.verifier_rules import RULES, VerifierRule, rule_for
from kobox.images.store import KernelImage
from tests.bpf.objects import PROGRAMS
from tests.bpf.refusals import FILES, NAMES, outcome, rule_of

# A part of `make check-bpf`: each with another wording, place or history.
PART = (
    "packet_bounds",
    "stale_packet",
    "null_check",
    "value_unbounded",
    "size_negative",
    "reference_leak",
    "lock_call",
    "result_range",
    "kernel_write",
    "absent_field",
    "absent_hook",
    "license",
)


@pytest.mark.parametrize("name", PART)
def test_a_rule_is_broken_and_mended(name: str, box: Box, debian_kernel: KernelImage) -> None:
    bad = outcome(box, debian_kernel, f"bad_{name}")
    assert bad.refused
    assert bad.rule == rule_of(name), bad.words
    assert not outcome(box, debian_kernel, f"good_{name}").refused


def test_every_rule_has_a_program_and_a_mended_twin() -> None:
    assert len(RULES) >= 54
    shown = {rule_of(name) for name in NAMES}
    assert {rule.name for rule in RULES} - shown == {"too-large"}  # which takes the emulated verifier a minute
    assert {f"good_{name}" for name in NAMES} <= FILES.keys()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_is_told_in_whole_sentences(rule: VerifierRule) -> None:
    re.compile(rule.pattern)
    assert rule.remedy[0].isupper()
    assert rule.remedy.rstrip("`;)")[-1] in ".!"
    assert not rule.rule.endswith(".")


LOG = """\
0: R1=ctx(off=0,imm=0) R10=fp0
; __u64 *value = bpf_map_lookup_elem(&hash, &key); @ guard.bpf.c:12
0: (b7) r1 = 1                        ; R1_w=1
1: (85) call bpf_map_lookup_elem#1    ; R0_w=map_value_or_null(id=1,off=0,ks=4,vs=8,imm=0)
; __u64 *other = value; @ guard.bpf.c:13
2: (bf) r6 = r0                       ; R0_w=map_value_or_null(id=1) R6_w=map_value_or_null(id=1)
; return *other; @ guard.bpf.c:14
3: (79) r0 = *(u64 *)(r6 +0)
R6 invalid mem access 'map_value_or_null'
verification time 84 usec
stack depth 4
processed 4 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
"""


def test_a_register_is_followed_through_copies_to_where_it_came_from() -> None:
    told = explain(LOG)
    assert told is not None
    assert told.step is not None
    assert told.rule is not None
    assert told.said == ("R6 invalid mem access 'map_value_or_null'",)
    assert told.where == "guard.bpf.c:14: return *other;"
    assert told.register == "R6"
    assert [step.index for step in told.history] == [1, 2]
    assert told.rule.name == "null-check"
    assert told.processed == 4
    assert "   2: r6 = r0   R6=map_value_or_null(id=1)   guard.bpf.c:13: __u64 *other = value;" in told.lines()


def test_a_log_without_words_is_no_refusal() -> None:
    assert explain("") is None
    assert explain("processed 4 insns (limit 1000000) max_states_per_insn 0\n") is None


@pytest.mark.parametrize("seed", range(3))
def test_hostile_logs_end(seed: int) -> None:
    """Cut, shuffled and repeated logs, and lines that patterns could stumble over."""
    rng = random.Random(seed)
    lines = LOG.splitlines()
    for _ in range(200):
        text = "\n".join(rng.choice(lines)[: rng.randrange(90)] * rng.choice((1, 1, 40)) for _ in range(30))
        told = explain(text)
        assert told is None or len("\n".join(told.lines())) < 1 << 17
    for line in (
        "R" * 9999,
        "0: (b7) " + "r1 = " * 3000,
        "0: " + "R1=(" * 4000,
        "; " + " @ a:1" * 3000,
        "R1=" + "()" * 9999,
    ):
        explain(f"{line}\n" * 20)
        rule_for(line)


def test_the_programs_are_all_there() -> None:
    assert len(list(PROGRAMS.glob("refusals*.bpf.c"))) == 4
