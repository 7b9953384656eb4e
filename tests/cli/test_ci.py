"""`kobox ci`: pipelines that are what their hosts read, and the plain one run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import yaml

from kobox.apps.ci_files import KERNELS, PLACES, pipeline
from kobox.apps.ci_run import CiStep, junit, results_in, summary
from kobox.errors import KoboxError
from kobox.images.store import KernelImage

KOBOX = Path(sys.executable).with_name("kobox")
SOURCE = """\
#include <linux/module.h>
#include <linux/slab.h>
static int __init m_init(void) { %s return 0; }
static void __exit m_exit(void) { }
module_init(m_init); module_exit(m_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("of the test");
"""


def test_the_pipeline_for_github_has_a_matrix_a_cache_and_what_github_shows() -> None:
    read: Any = yaml.safe_load(pipeline("github"))
    job = read["jobs"]["module"]
    assert job["strategy"]["matrix"]["kernel"] == list(KERNELS)
    assert (
        "${{ matrix.kernel }}" in next(s for s in job["steps"] if "actions/cache" in s.get("uses", ""))["with"]["key"]
    )
    assert any("upload-sarif" in step.get("uses", "") for step in job["steps"])
    assert any("kobox ci run ." in step.get("run", "") for step in job["steps"])
    assert "GITHUB_STEP_SUMMARY" in read["jobs"]["summary"]["steps"][-1]["run"]
    assert read["permissions"]["security-events"] == "write"


def test_the_pipeline_for_gitlab_has_a_matrix_a_cache_and_junit() -> None:
    read: Any = yaml.safe_load(pipeline("gitlab", ["debian/sid"], "driver", ["--baseline", "known.json"]))
    assert read["module"]["parallel"]["matrix"] == [{"KERNEL": ["debian/sid"]}]
    assert read["module"]["artifacts"]["reports"]["junit"] == "kobox-ci/*/junit.xml"
    assert read["module"]["cache"]["paths"] == [".cache/"]
    assert read["module"]["script"] == [
        'kobox ci run driver -k "$KERNEL" -o "kobox-ci/$CI_NODE_INDEX" --baseline known.json'
    ]


@pytest.mark.parametrize("name", ["it's", "a b", 'x"y', "a: b", "#c", "- d", "${{ x }}"])
def test_names_are_quoted_for_yaml_and_for_the_shell(name: str, tmp_path: Path) -> None:
    assert yaml.safe_load(pipeline("github", [name]))["jobs"]["module"]["strategy"]["matrix"]["kernel"] == [name]
    assert yaml.safe_load(pipeline("gitlab", [name]))["module"]["parallel"]["matrix"][0]["KERNEL"] == [name]
    script = pipeline("plain", [name], source=name).replace("exec kobox", "printf '%s\\n'").replace("cd ", ": ")
    done = subprocess.run(
        ["sh", "-c", script.replace("command -v kobox", "true")], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[:5] == ["ci", "run", name, "-k", name]
    with pytest.raises(KoboxError):
        pipeline("plain", ["a\nb"])


@pytest.mark.parametrize("kind", list(PLACES))
def test_a_pipeline_is_written_once(kind: str, tmp_path: Path) -> None:
    def init(*options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [KOBOX, "ci", "init", kind, *options], cwd=tmp_path, capture_output=True, text=True, check=False
        )

    assert init("--stdout").stdout == pipeline(kind)
    assert list(tmp_path.iterdir()) == []
    assert init().returncode == 0
    path = tmp_path / PLACES[kind][1]
    assert path.read_text() == pipeline(kind)
    assert os.access(path, os.X_OK) == (kind == "plain")
    again = init()
    assert (again.returncode, "exists already" in again.stderr) == (1, True)
    assert init("--force").returncode == 0


def test_the_plain_script_builds_loads_checks_and_reports(tmp_path: Path, debian_kernel: KernelImage) -> None:
    (tmp_path / "driver").mkdir()
    (tmp_path / "driver/fine.c").write_text(SOURCE % "")
    (tmp_path / "driver/leaks.c").write_text(SOURCE % "kmalloc(5, GFP_KERNEL);")
    (tmp_path / "driver/Kbuild").write_text("obj-m := fine.o leaks.o\n")
    words = ["ci", "init", "plain", "--source", "driver", "-k", debian_kernel.name]
    subprocess.run([KOBOX, *words], cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    environment = {**os.environ, "PATH": f"{KOBOX.parent}:{os.environ['PATH']}"}
    done = subprocess.run([tmp_path / "kobox-ci.sh"], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1, done.stderr
    assert f"| {debian_kernel.name} | ok | ok | **failed**: leaks |" in (tmp_path / "kobox-ci/summary.md").read_text()
    suite = ET.parse(tmp_path / "kobox-ci/junit.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("6", "1", "0")
    place = tmp_path / "kobox-ci" / debian_kernel.name
    (run,) = json.loads((place / "leaks.sarif").read_text())["runs"]
    location = run["results"][0]["locations"][0]["physicalLocation"]
    assert (location["artifactLocation"]["uri"], location["region"]["startLine"]) == ("driver/leaks.c", 3)
    assert "SF:" in (place / "fine.lcov").read_text()
    table = subprocess.run(
        [KOBOX, "ci", "summary", "kobox-ci"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert table.stdout == (tmp_path / "kobox-ci/summary.md").read_text()

    (tmp_path / "driver/leaks.c").write_text(SOURCE % "kmalloc(5, GFP_KERNEL); /* kobox: allow(leak): kept */")
    done = subprocess.run([tmp_path / "kobox-ci.sh"], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    (tmp_path / "driver/fine.c").write_text("nonsense\n")
    done = subprocess.run([tmp_path / "kobox-ci.sh"], capture_output=True, text=True, check=False, env=environment)
    assert "**failed**: driver | - | - |" in (tmp_path / "kobox-ci/summary.md").read_text()


STEPS = [
    CiStep("6.1", "a", "builds", "ok"),
    CiStep("6.1", "a", "loads", "failed", "it said\n```\x0b <b>&\nlast line"),
    CiStep("6.1", "a", "clean", "skipped"),
]


def test_reports_hold_whatever_a_module_prints() -> None:
    assert "'''" in summary(STEPS)
    root = ET.fromstring(junit([STEPS[0], CiStep("6.1", "a", "loads", "failed", "x <b>& y")]))
    assert root[0][1][0].text == "x <b>& y"


ROW = {"kernel": "k", "module": "m", "step": "flies", "outcome": "ok", "text": "", "seconds": 1}


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"format": 9, "steps": []}', '{"format": 1, "steps": [{}]}', json.dumps({"format": 1, "steps": [ROW]})],
    ids=["empty", "list", "format", "row", "step"],
)
def test_a_result_that_is_damaged_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(KoboxError, match=r"result\.json"):
        results_in([tmp_path])
