"""The native cores under AddressSanitizer and UndefinedBehaviorSanitizer: `make sanitize`.

    kobox/, tests/ --copied--> build/sanitize/ --both core.so built with sanitizers-->
        1. leaks.c, linked with the machine's core: LeakSanitizer sees what is not given back
        2. the tests of the machine and of kmod's indexes, with the sanitizer's runtime loaded first

`tests/sanitize.py --fuzz ...` runs `tests.fuzz` there instead of the tests.

It needs gcc with libasan and libubsan (Debian: `apt-get install gcc`), on x86-64 or arm64 Linux.
"""

from __future__ import annotations

import importlib.util
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parent.parent
BUILD = ROOT / "build" / "sanitize"
CHECKS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer", "-O1", "-g")
TESTS = (
    "tests/machine",
    "tests/kmod/index",
    "tests/kmod/test_modinfo_like_kmod.py",
    "tests/checks/memory/test_memory.py",
    "tests/box/boot",
)


def sanitizer_runtime(compiler: str) -> list[str]:
    """The runtime libraries of the compiler's sanitizers. Ends the program when there are none."""
    found = []
    for name in ("libasan.so", "libubsan.so"):
        answer = subprocess.run([compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True)
        path = Path(answer.stdout.strip())
        if not path.is_absolute():
            sys.exit(f"make sanitize: {compiler} has no {name} (Debian: apt-get install gcc)")
        found.append(str(path.resolve()))
    return found


def build_rules() -> dict[str, Any]:
    """What hatch_build.py says of the libraries: it is run without hatchling, which only a build has."""
    for name, wanted in (("builders.hooks", "BuildHookInterface"), ("metadata", "MetadataHookInterface")):
        interface = ModuleType(f"hatchling.{name}.plugin.interface")
        setattr(interface, wanted, type(wanted, (), {}))
        sys.modules.setdefault(interface.__name__, interface)
    return runpy.run_path(str(ROOT / "hatch_build.py"))


def build(compiler: str, headers: Path) -> None:
    """Copy the package and its tests, and build the native cores with sanitizers."""
    shutil.rmtree(BUILD, ignore_errors=True)
    for name in ("kobox", "tests", "docs"):
        shutil.copytree(ROOT / name, BUILD / name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    for name in ("pyproject.toml", "hatch_build.py", "README.md"):
        shutil.copy(ROOT / name, BUILD / name)
    flags = ["-std=c11", "-fPIC", "-shared", "-fvisibility=hidden", "-isystem", str(headers)]
    rules = build_rules()
    for library, options in rules["LIBRARIES"].items():
        sources = rules["sources"](BUILD, library)
        subprocess.run([compiler, *CHECKS, *flags, "-o", BUILD / library, *sources, *options], check=True)


def find_leaks(compiler: str, headers: Path, libunicorn: Path) -> None:
    """Run leaks.c. LeakSanitizer fails the program when anything that the core took is lost."""
    native, program = BUILD / "kobox" / "machine" / "native", BUILD / "leaks"
    sources = [
        str(ROOT / "tests" / "machine" / "leaks.c"),
        *build_rules()["sources"](BUILD, "kobox/machine/native/core.so"),
    ]
    flags = ["-std=c11", "-isystem", str(headers), f"-I{native}"]
    subprocess.run([compiler, *CHECKS, *flags, "-o", program, *sources, "-ldl"], check=True)
    subprocess.run([program, libunicorn], check=True, env={**os.environ, "ASAN_OPTIONS": "detect_leaks=1"})


def main() -> int:
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        sys.exit("make sanitize: no C compiler (Debian: apt-get install gcc)")
    spec = importlib.util.find_spec("unicorn")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("make sanitize: the `unicorn` package is not installed (make setup)")
    unicorn = Path(spec.submodule_search_locations[0])
    runtime = sanitizer_runtime(compiler)
    build(compiler, unicorn / "include")
    fuzzes = sys.argv[1:2] == ["--fuzz"]
    if not fuzzes:
        find_leaks(compiler, unicorn / "include", next((unicorn / "lib").glob("libunicorn.so*")))
    environment = {
        **os.environ,
        "LD_PRELOAD": " ".join(runtime),
        # Python's own allocations at exit are no leaks of ours: leaks.c looks for those.
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1:handle_segv=1",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
        "PYTHONPATH": str(BUILD),
        "PYTHONMALLOC": "malloc",
    }
    # What a sanitizer says goes to descriptor 2 just before the end: pytest must not keep that.
    options = ["-q", "-p", "no:cacheprovider", "--capture=sys"]
    command = [sys.executable, "-m", "pytest", *options, *(sys.argv[1:] or TESTS)]
    if fuzzes:
        command = [sys.executable, "-m", "tests.fuzz", *sys.argv[2:]]
    return subprocess.run(command, cwd=BUILD, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
