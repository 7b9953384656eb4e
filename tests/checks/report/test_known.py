"""Findings that somebody knows of: baselines and comments."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kobox.checks.report.finding import Finding, Frame, Resource, Severity
from kobox.checks.report.known import baseline_text, read_baseline, signature, split_known
from kobox.errors import KoboxError
from kobox.images.store import KernelImage

KOBOX = str(Path(sys.executable).with_name("kobox"))


def finding(kind: str = "leak", line: int = 3, file: str = "m.c", function: str = "m_init") -> Finding:
    chain = (Frame(function, 4, "m", file, line),)
    return Finding(kind, Severity.ERROR, "a 5-byte kmalloc object", chain, Resource("it", made_at=chain))


@pytest.mark.parametrize(
    ("above", "line", "reason"),
    [
        ("", "x(); /* kobox: allow(leak): kept for ever */", "kept for ever"),
        ("// kobox: allow(leak): kept for ever", "x();", "kept for ever"),
        ("/* kobox: allow(data-race, leak) kept for ever */", "x();", "kept for ever"),
        ("//kobox:allow(leak) kept", "x();", "kept"),
        ("", "x(); // kobox: allow(leak)", None),
        ("", "x(); /* kobox: allow(leak): */", None),
        ("", "x(); // kobox: allow(data-race): other", None),
        ("", 'x("allow(leak): no comment");', None),
        ("// kobox: allow(leak): two lines above\n", "x();", None),
    ],
)
def test_a_comment_with_a_reason_allows_a_kind(above: str, line: str, reason: str | None, tmp_path: Path) -> None:
    text = f"first\n{above}\n{line}\n"
    (tmp_path / "m.c").write_text(text)
    at = next(n for n, one in enumerate(text.splitlines(), 1) if one == line)
    new, known = split_known("m", [finding(line=at)], frozenset(), tmp_path)
    assert [one.reason for one in known] == ([] if reason is None else [reason])
    assert len(new) == (reason is None)


@pytest.mark.parametrize("file", ["../secret.c", "/etc/passwd", "link.c", "", "missing.c", "m\0.c", "directory"])
def test_only_files_below_the_source_are_read(file: str, tmp_path: Path) -> None:
    (tmp_path / "secret.c").write_text("// kobox: allow(leak): from outside\n" * 5)
    source = tmp_path / "source"
    (source / "directory").mkdir(parents=True)
    (source / "link.c").symlink_to("../secret.c")
    new, known = split_known("m", [finding(file=file)], frozenset(), source)
    assert (len(new), known) == (1, [])


def test_a_baseline_knows_a_finding_wherever_its_line_is(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    path.write_text(baseline_text([("m", finding()), ("m", finding(line=9)), ("m", finding("data-race"))]))
    baseline = read_baseline(path)
    assert baseline == {signature("m", finding()), signature("m", finding("data-race"))}
    new, known = split_known(
        "m", [finding(line=77), finding("leak", function="other"), finding("data-race")], baseline, tmp_path
    )
    assert [one.where.function for one in new if one.where] == ["other"]
    assert [one.how for one in known] == ["baseline", "baseline"]
    assert split_known("another", [finding()], baseline, tmp_path)[1] == []


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '{"format": 7, "findings": []}', '{"format": 1, "findings": [{}]}', '{"format": 1}', "\xff"],
)
def test_a_file_that_is_no_baseline(text: str, tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(KoboxError, match=r"baseline\.json: "):
        read_baseline(path)


SOURCE = """\
#include <linux/module.h>
#include <linux/slab.h>
static int __init m_init(void)
{
	kmalloc(5, GFP_KERNEL);%s
	return 0;
}
static void __exit m_exit(void) { }
module_init(m_init); module_exit(m_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("leaks");
"""


def test_only_what_is_new_fails_a_check(tmp_path: Path, debian_kernel: KernelImage) -> None:
    def check(*options: str) -> subprocess.CompletedProcess[str]:
        plain = ("--no-elsewhere", "--no-faults", "--no-races", "--exercise", "none", "-k", debian_kernel.name)
        return subprocess.run(
            [KOBOX, "check", "m.c", *plain, *options], cwd=tmp_path, capture_output=True, text=True, check=False
        )

    (tmp_path / "m.c").write_text(SOURCE % "")
    assert check("--write-baseline", "known.json").returncode == 1
    done = check("--baseline", "known.json", "--json", "--sarif", "x.sarif")
    assert done.returncode == 0, done.stdout + done.stderr
    (report,) = json.loads(done.stdout)
    assert (report["findings"], [one["how"] for one in report["known"]]) == ([], ["baseline"])
    (run,) = json.loads((tmp_path / "x.sarif").read_text())["runs"]
    assert run["results"][0]["suppressions"] == [{"kind": "external"}]
    (tmp_path / "m.c").write_text(SOURCE % " /* kobox: allow(leak): the firmware keeps it */")
    done = check()
    assert (done.returncode, "(allowed: the firmware keeps it)" in done.stdout) == (0, True)
    assert done.stdout.endswith("m: nothing new; 1 known finding\n")
    assert check("--baseline", "none.json").returncode == 2
