"""Builds the machine's native core (`kobox/machine/*.c`) into a plain shared library.

It is no CPython extension: it needs no Python headers, and one build serves every Python version.
"""

import importlib.util
import os
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class NativeCore(BuildHookInterface):  # type: ignore[type-arg]
    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if compiler is None:
            raise SystemExit("kobox: no C compiler found; install one (Debian: apt-get install gcc) and try again")
        room = Path(self.root, "kobox", "machine")
        made = room / f"core.{os.getpid()}.tmp"
        headers = Path(str(importlib.util.find_spec("unicorn").submodule_search_locations[0]), "include")  # type: ignore
        flags = ["-std=c11", "-O2", "-g", "-Wall", "-Wextra", "-fPIC", "-fvisibility=hidden", f"-I{headers}"]
        sources = [str(room / name) for name in ("core.c", "watch.c")]
        subprocess.run([compiler, *flags, "-shared", "-o", str(made), *sources, "-ldl"], check=True)
        made.replace(room / "core.so")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{self._platform()}"

    @staticmethod
    def _platform() -> str:
        return sysconfig.get_platform().replace("-", "_").replace(".", "_")
