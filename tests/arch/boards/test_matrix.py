"""One driver, kernels of several processors, one command, one table."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from kobox.images.store import KernelImage

SOURCE = Path(__file__).parent.parent.parent / "modules" / "good.c"


def test_a_driver_is_built_loaded_and_clean_on_every_processor(
    debian_kernel: KernelImage, board_kernel: KernelImage, tmp_path: Path
) -> None:
    shutil.copy(SOURCE, tmp_path)
    names = [debian_kernel.name, board_kernel.name]
    command = [sys.executable, "-m", "kobox", "matrix", "--json", *(word for name in names for word in ("-k", name))]
    done = subprocess.run([*command, "good.c"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = json.loads(done.stdout)["rows"]
    assert {name: cell["state"] for name, cell in row["cells"].items()} == dict.fromkeys(names, "clean")
