"""The verifier's rules, as far as programs break them: what its words mean, and what to write instead.

A row is found by the verifier's words, the first that fits. Each has a program that breaks it and a mended twin in
tests/bpf/refusals/, which run on every kernel that the tests know.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class VerifierRule:
    """`name` identifies it, `pattern` is a regular expression on the verifier's words, `rule` says what it asks for, in
    one sentence, `remedy` what to write instead."""

    name: str
    pattern: str
    rule: str
    remedy: str


RULES = (
    VerifierRule(
        "packet-bounds",
        r"invalid access to packet|R\d+ offset is outside of the packet",
        "packet data may be read only as far as a comparison with data_end has shown it to be there",
        "Compare before the access, with the size of what is read: `if (data + sizeof(*header) > data_end) return …;`.",
    ),
    VerifierRule(
        "null-check",
        r"invalid mem access '\w*_or_null_?'",
        "a lookup may find nothing, so its pointer is used only behind a comparison with NULL",
        "Test the pointer first: `if (!value) return 0;`.",
    ),
)
_COMPILED = tuple((re.compile(rule.pattern), rule) for rule in RULES)


def rule_for(words: str) -> VerifierRule | None:
    """The rule that the verifier's words are about."""
    return next((rule for pattern, rule in _COMPILED if pattern.search(words)), None)
