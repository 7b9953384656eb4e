"""Logs as people paste them, and the causes that are found: logs.txt has a log a case, under the causes in their order.

    == rule:module -rule:module      - for what is not fatal
    lines

A name without a module stands as `rule:`.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kobox.explain.cause import Cause
from kobox.explain.errno_texts import TRANSLATED
from kobox.explain.log import RULES, cause_of, causes_in
from kobox.explain.log_lines import log_lines
from kobox.explain.log_rule import LogRule, RuleTable
from kobox.explain.possibilities import meanings
from kobox.explain.refusals import errno_of, refusal_in

_TEXT = Path(__file__).with_name("logs.txt").read_text()
LOGS = re.findall(r"^== ?([^\n]*)\n((?:(?!== |# )[^\n]*\n)+)", _TEXT, re.MULTILINE)
SAMPLES = {
    "module": "hello",
    "ko": "/lib/modules/6.1/hello.ko",
    "symbol": "foo_fn",
    "number": "12",
    "hex": "ffffffffc0a01234",
    "word": "word",
}
# What the kernel prints of modules and needs no explanation.
SILENT = (
    "Failed to create 'compression' attribute",
    "Modules linked in:",
    "Unloaded tainted modules:",
    "INSNS:",
    "FINALIZE,",
    "got entries used",
    "Symbol %s loc",  # parisc, for debugging
    "%s: %s: %08x=%08x-%08x %s",  # hexagon: the words are R_HEXAGON_B22_PCREL reloc out of range
)


def named(causes: list[Cause]) -> list[str]:
    return [f"{'' if cause.fatal else '-'}{cause.rule}:{cause.module}" for cause in causes]


def filled(text: str) -> str:
    """A text of a rule with something in its places."""
    return re.sub(r"\{(\w+)\}", lambda place: SAMPLES.get(place[1], "something"), text.removesuffix("$"))


@pytest.mark.parametrize(("expected", "log"), LOGS, ids=[f"{number}-{one[0]}" for number, one in enumerate(LOGS)])
def test_a_log(expected: str, log: str) -> None:
    causes = causes_in(log)
    assert named(causes) == expected.split()
    for cause in causes:
        assert cause.advice
        for text in (cause.why, cause.advice, *(other.why + other.advice for other in cause.alternatives)):
            assert not re.search(r"\{\w*\}| [:;,.] |  ", text), text


def test_there_are_many_logs() -> None:
    assert len(LOGS) > 470


@pytest.mark.parametrize("rule", RULES, ids=[f"{number}-{rule.rule}" for number, rule in enumerate(RULES)])
def test_each_text_of_a_rule_is_found_by_it(rule: LogRule) -> None:
    table = RuleTable(RULES)
    for text in rule.texts:
        line = filled(text)
        match = table.match(line)
        assert match is not None, line
        assert match.rule.rule == rule.rule, line
    assert rule.source
    assert rule.why
    assert rule.advice


def test_a_name_of_a_rule_is_fatal_or_not_by_its_text_alone() -> None:
    texts = [text for rule in RULES for text in rule.texts]
    assert sorted({text for text in texts if texts.count(text) > 1}) == []


KERNEL_MESSAGES = [
    line.split("\t")
    for line in Path(__file__).with_name("kernel_messages.txt").read_text().splitlines()
    if line and not line.startswith("#")
]


@pytest.mark.parametrize("file", sorted({file for file, _ in KERNEL_MESSAGES}))
def test_every_message_of_the_kernel_s_loader_is_known(file: str) -> None:
    """kernel_messages.txt: what pr_err(), pr_warn() and the like print in the files of 6.1 that load modules."""
    table = RuleTable(RULES)
    unknown = [
        text
        for where, text in KERNEL_MESSAGES
        if where == file and not text.startswith(SILENT) and table.match(" ".join(sample(text).split())) is None
    ]
    assert unknown == []


def sample(text: str) -> str:
    """A printk() format with values in it."""
    text = re.sub(r"%#l?x", "0x12", text)
    text = re.sub(r"%(?:p\w*|\*phN|0?\d*[lL]*[xX])", "ffffffffc0a01234", text)
    return re.sub(r"%[lL]*[uid]", "12", text.replace("%s", "hello"))


# -- the parts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("errno", sorted(TRANSLATED))
def test_the_c_library_s_texts_in_other_languages(errno: str) -> None:
    for text in TRANSLATED[errno]:
        shown = text[0].upper() + text[1:]
        assert errno_of(shown) == errno, text
        refusal = refusal_in(f"modprobe: ERROR: could not insert 'hello': {shown}".replace("\u2019", "'"))
        assert refusal is not None
        assert (refusal.module, refusal.errno, refusal.unload) == ("hello", errno, False)


@pytest.mark.parametrize("unload", [False, True])
@pytest.mark.parametrize("errno", ["", "EPERM", "ENODEV", "EXFULL", "ENOEXEC", "nonsense"])
def test_every_errno_means_something(errno: str, unload: bool) -> None:
    assert meanings(errno, unload=unload)
    assert cause_of(errno, unload=unload).why


@pytest.mark.parametrize(
    ("line", "module", "errno", "unload"),
    [
        (
            "modprobe: ERROR: could not insert 'x': Unknown symbol in module",
            "x",
            "ENOENT",
            0,
        ),
        ("WARNING: Error inserting x (/lib/modules/2.6.18/x.ko): Operation not permitted", "x", "EPERM", 0),
        ("insmod: can't insert '/lib/x-y.ko': Exec format error", "x_y", "ENOEXEC", 0),
        ("modprobe: can't load module x (kernel/net/x.ko.xz): invalid module format", "x", "ENOEXEC", 0),
        ("insmod: failed to load x.ko: Exec format error", "x", "ENOEXEC", 0),
        ("systemd-modules-load[3]: Failed to insert 'x': Required key not available", "x", "ENOKEY", 0),
        ("libmodprobe: Failed to insmod '/vendor/lib/modules/x.ko' with args '': Exec format error", "x", "ENOEXEC", 0),
        ("initramfs: Couldn't load /x.ko.xz: Exec format error", "x", "ENOEXEC", 0),
        ("x.ko: not loaded: No such device (ENODEV)", "x", "ENODEV", 0),
        ('init_module(0x7f, 123, "") = -1 ENOKEY (Required key not available)', "", "ENOKEY", 0),
        ('delete_module("x", O_NONBLOCK) = -1 EBUSY (Device or resource busy)', "x", "EBUSY", 1),
        ("rmmod: failed to unload x: Device or resource busy", "x", "EBUSY", 1),
        ("FATAL: Error removing x (/lib/x.ko): Device or resource busy", "x", "EBUSY", 1),
        ("x: not unloaded: Resource temporarily unavailable (EAGAIN)", "x", "EAGAIN", 1),
        ("some tool, kernel module 'x': Operation not permitted", "x", "EPERM", 0),
        ("cat: /etc/shadow: Permission denied", None, "", 0),
        ("mount: /mnt: No such device", None, "", 0),
    ],
)
def test_a_tool_s_line(line: str, module: str | None, errno: str, unload: int) -> None:
    refusal = refusal_in(line)
    if module is None:
        assert refusal is None
    else:
        assert refusal is not None
        assert (refusal.module, refusal.errno, refusal.unload) == (module, errno, bool(unload))


def test_colours_and_what_a_terminal_would_act_on_is_taken_away() -> None:
    log = "\x1b[32m[   12.3] \x1b[0m\x1b[33mhello\x1b[0m: Unknown symbol \u202efoo\x07 (err -2)\r\n"
    (cause,) = causes_in(log)
    assert (cause.rule, cause.module, cause.symbols) == ("unknown-symbol", "hello", ("foo",))
    assert cause.line == "[   12.3] hello: Unknown symbol foo (err -2)"


@pytest.mark.parametrize(
    "log",
    [
        "",
        "\0" * 1000,
        "a" * 1_000_000,
        "a: " * 100_000,
        "module: version magic '" * 1000 + "' should be '" * 1000,
        '{"MESSAGE":' + "[" * 100_000,
        '{"MESSAGE":[1,999,"x",-1]}',
        "[" * 10_000,
        "> " * 10_000,
        "BUG: kernel NULL pointer dereference, address: \n" * 500,
        "\udcff\udcfe: Unknown symbol \udcff (err -2)",
    ],
    ids=range(11),
)
def test_hostile_logs(log: str) -> None:
    json.dumps([(cause.why, cause.line) for cause in causes_in(log)])


def test_many_symbols_of_one_provider_are_one_cause() -> None:
    lines = [f"hello: Unknown symbol cfg80211_fn{number} (err -2)" for number in range(40)]
    (cause,) = causes_in("\n".join(lines))
    assert len(cause.symbols) == 40
    assert "cfg80211_fn0, cfg80211_fn1, cfg80211_fn2 and 37 more" in cause.why
    assert "the module cfg80211 (CONFIG_CFG80211)" in cause.why.replace("The", "the")


def test_the_lines_of_a_log() -> None:
    lines = list(log_lines("\n\n  [ 1.0] a  b\tc\n\nSep 12 11:46:19 host kernel: [ 2.0] d\n"))
    assert [line.plain for line in lines] == ["a b c", "d"]


HOSTILE_LINES = [
    "INFO: task rmmod:1234 blocked for more than 120 " + "seconds.a" * 3000,
    "BUG: unable to handle page fault for address: " + "a." * 10_000,
    "Modules linked in: " + "a-" * 10_000,
    "RIP: 0010:" + "hello_init+0x1" * 2000,
    "hello: Unknown symbol " + "a b" * 10_000,
]


def test_no_line_keeps_the_reader_busy() -> None:
    """In so much CPU time as patterns that try each letter of a line would use up with the first."""
    code = (
        "import json, resource, sys; resource.setrlimit(resource.RLIMIT_CPU, (20, 20))\n"
        "from kobox.explain.log import causes_in\n"
        "for line in json.load(sys.stdin):\n"
        "    causes_in(f'[    1.0] {line}\\n[    1.1] BUG: kernel NULL pointer dereference\\n[    1.2] {line}\\n')\n"
    )
    subprocess.run([sys.executable, "-c", code], input=json.dumps(HOSTILE_LINES), text=True, check=True)
