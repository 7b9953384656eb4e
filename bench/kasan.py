"""Linux's own test cases for memory under the memory check: what is found, by what, and what is not.

    python bench/kasan.py [--kernel NAME]... [--only PATTERN] [--update FILE] [--verbose]

KASAN's tests and module tests, drivers/misc/lkdtm and samples/kmemleak are built from the source that each kernel was
built from (tests/linux_cases.py), and each case runs alone in a clean box. For KASAN's tests "found" is counted in the
statements that KASAN has to report there. The table is that of docs/check-kasan.md. Exit status 1 when a case that
should be found is not.
"""

from __future__ import annotations

import argparse
import fnmatch
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from kobox.box.boot.bare_boot import boot
from kobox.box.box import Box
from kobox.checks.memory.memory import MemoryCheck
from kobox.checks.report.finding import Finding, own_frame
from kobox.checks.runner.session import Examination
from kobox.images.store import KernelImage, Store
from kobox.ko.modulefile import ModuleFile
from tests.linux_cases import Cases, kasan_cases, linux_cases

HEADING = "## Case by case"
# Cases that are not found, or not wholly, and why.
_POOL = "the pool's elements are allocated by the kernel's own code, and nobody knows what is back in the pool"
REASONS: dict[str, str] = {
    **dict.fromkeys(
        (
            *("mempool_kmalloc_oob_right", "mempool_kmalloc_large_oob_right", "mempool_kmalloc_uaf"),
            *("mempool_kmalloc_large_uaf", "mempool_slab_uaf", "mempool_page_alloc_uaf", "mempool_kmalloc_double_free"),
            *("mempool_kmalloc_large_double_free", "mempool_page_alloc_double_free", "mempool_kmalloc_invalid_free"),
            "mempool_kmalloc_large_invalid_free",
        ),
        _POOL,
    ),
    "kasan_stack_oob": "the pointer goes through a volatile variable first, and which array it points to is then "
    "forgotten",
    "kasan_alloca_oob_left": "an array of variable length: no debugging information says where it ends",
    "kasan_alloca_oob_right": "an array of variable length: no debugging information says where it ends",
    "kasan_bitops_generic": "with a constant bit, x86's set_bit() and kin touch one byte, and that is the object's "
    "own; KASAN counts the whole word",
    "KFENCE_READ_AFTER_FREE": "no mistake: waits for memory from KFENCE, which the kernel was built without",
    "SMP_CALL_LOCKUP": "no mistake with one CPU: it wants to keep another one busy",
    "FAM_BOUNDS": "behind an array, and still inside the object that was allocated: only UBSAN can see it",
    "SLAB_INIT_ON_ALLOC": "no mistake: asks whether the kernel clears what it allocates",
    "BUDDY_INIT_ON_ALLOC": "no mistake: asks whether the kernel clears what it allocates",
    "REPORT_STACK": "no mistake: prints where the stack is",
    "REPORT_STACK_CANARY": "no mistake: prints the canary",
    "UNALIGNED_LOAD_STORE_WRITE": "no mistake on x86",
    "OVERFLOW_SIGNED": "no memory: an integer overflows, for UBSAN",
    "OVERFLOW_UNSIGNED": "no memory: an integer overflows, for UBSAN",
    "ARRAY_BOUNDS": "behind the array, and still inside the object that was allocated: only UBSAN can see it",
    "UNSET_SMEP": "takes native_write_cr4(), which the kernel does not export without lkdtm",
    "DOUBLE_FAULT": "for 32-bit x86 only",
    "CORRUPT_PAC": "for arm64 only",
    "WRITE_RO_AFTER_INIT": "run at init, when it may still be written",
    "WRITE_OPD": "for machines with function descriptors only",
    "EXEC_USERSPACE": "the box's processor has no SMEP, so that the kernel can execute user space's code",
    "STACKLEAK_ERASING": "no mistake: asks for a protection that the kernel was built without",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One case: how many of its mistakes are found, and the findings."""

    suite: str
    case: str
    wanted: int
    found: int
    findings: list[Finding]
    error: str

    @property
    def verdict(self) -> str:
        """In a word."""
        if not self.wanted:
            return "clean, rightly" if not self.findings else "FALSE ALARM"
        return "found" if self.found >= self.wanted else f"{self.found} of {self.wanted}" if self.found else "not found"

    @property
    def by(self) -> str:
        """What was found, and where: each kind with its lines."""
        places: dict[str, list[str]] = {}
        for finding in self.findings:
            where = finding.where
            place = f"{where.file}:{where.line}" if where and where.line else str(where or "")
            if place not in places.setdefault(finding.kind, []):
                places[finding.kind].append(place)
        return "; ".join(f"{kind} ({', '.join(lines[:3])}{' …' * (len(lines) > 3)})" for kind, lines in places.items())


def examine(box: Box, file: ModuleFile, parameters: str) -> tuple[list[Finding], str]:
    """One life of a module; findings, and what ended it early."""
    examination = Examination(box, file, [MemoryCheck()], parameters=parameters)
    findings = examination.run()
    return findings, str(examination.error or "").split("\n")[0]


def kasan_rows(box: Box, cases: Cases, only: str) -> Iterator[Row]:
    """KASAN's tests."""
    file = ModuleFile(cases.modules / "kasan_test.ko")
    for case, statements in kasan_cases(cases.kasan.read_text()).items():
        if not fnmatch.fnmatchcase(case, only):
            continue
        findings, error = examine(box, file, f"run={case}")
        if requires := re.search(r"kunit: Test requires (\S+)", box.log.text()):
            yield Row("kasan_test", case, 0, 0, findings, f"skips itself: requires {requires[1]}")
            continue
        lines = {frame.line for finding in findings for frame in finding.chain if frame.file.endswith(cases.kasan.name)}
        found = sum(1 for statement in statements if lines & statement)
        yield Row("kasan_test", case, len(statements), found, findings, error)


def module_rows(box: Box, cases: Cases, only: str) -> Iterator[Row]:
    """mm/kasan/kasan_test_module.c and samples/kmemleak: all of it at once. What they do wrong is read from them:
    copies of a byte too much and members of what is freed; allocations that are dropped."""
    for name, wrong, kinds in (
        ("kasan_test_module", r", size \+ 1\);|\)->\w+;$", ()),
        ("kmemleak-test", r"(?:= |, )(?:km|kz|vm|__)alloc(?:_percpu)?\(", ("leak",)),
    ):
        if not fnmatch.fnmatchcase(name, only):
            continue
        source = (cases.sources / f"{name}.c").read_text()
        source = re.sub(r"#ifndef CONFIG_MODULES.*?#endif", "", source, flags=re.DOTALL)
        wanted = len(re.findall(wrong, source, re.MULTILINE))
        findings, error = examine(box, ModuleFile(cases.modules / f"{name}.ko"), "")
        findings = [finding for finding in findings if not kinds or finding.kind in kinds]
        lines = {(finding.where.file, finding.where.line) for finding in findings if finding.where}
        yield Row(name, name, wanted, min(len(lines), wanted), findings, error)


def lkdtm_rows(box: Box, cases: Cases, only: str) -> Iterator[Row]:
    """drivers/misc/lkdtm: its crash types, each at init."""
    file = ModuleFile(cases.modules / "lkdtm.ko")
    for source in ("heap", "bugs", "fortify", "usercopy", "perms", "stackleak", "refcount"):
        text = (cases.sources / f"{source}.c").read_text()
        for case in re.findall(r"^\tCRASHTYPE\((\w+)\)", text, re.MULTILINE):
            if not fnmatch.fnmatchcase(case, only) or case.endswith("_TIMING"):  # two of them only take their time
                continue
            findings, error = examine(box, file, f"cpoint_name=DIRECT cpoint_type={case}")
            yield Row(f"lkdtm {source}", case, 1, 1 if findings else 0, findings, error)


def rows(kernel: KernelImage, only: str = "*") -> Iterator[Row]:
    """Every case, each in a clean box."""
    cases = linux_cases(kernel)
    with boot(kernel) as box:
        box.limits.cpu = 5.0
        yield from kasan_rows(box, cases, only)
        yield from module_rows(box, cases, only)
        yield from lkdtm_rows(box, cases, only)


def table(results: dict[str, list[Row]]) -> Iterator[str]:
    """The cases of all kernels as one table of Markdown, with two columns a kernel."""
    heads = "".join(f" {kernel} | found by |" for kernel in results)
    yield f"| from | case |{heads} why not, or not all |"
    yield f"|---|---|{'---|---|' * len(results)}---|"
    found = {kernel: {(row.suite, row.case): row for row in rows} for kernel, rows in results.items()}
    order: list[tuple[str, str]] = []
    for cases in found.values():
        at = 0
        for case in cases:  # what only a later kernel has stands where it stands there
            if case in order:
                at = order.index(case) + 1
            else:
                order.insert(at, case)
                at += 1
    for suite, case in order:
        cells = ""
        for cases in found.values():
            row = cases.get((suite, case))
            cells += f" {row.verdict} | {row.by or row.error} |" if row else " - | |"
        yield f"| {suite} | {case} |{cells} {REASONS.get(case, '')} |"


def examine_all(kernel: KernelImage, only: str, verbose: bool) -> list[Row]:
    """Every case on one kernel, told as it goes."""
    found = []
    for row in rows(kernel, only):
        found.append(row)
        print(f"{row.suite:18} {row.case:32} {row.verdict:14} {row.by or row.error}", flush=True)
        for finding in row.findings if verbose else []:
            made = own_frame(finding.object.made_at) if finding.object else None
            print(f"    {finding}", f"made {made}" if made else "", f"[{row.error}]" if row.error else "")
    return found


def default_kernels(store: Store) -> list[KernelImage]:
    """The newest cloud kernel of each of Debian's releases that the cache has: bookworm's is fetched if need be."""
    newest: dict[str, KernelImage] = {}
    for kernel in (store.ensure(None), *store.list()):
        suite = re.match(r"debian/(?!sid)\S+", kernel.origin)
        if suite and "cloud" in kernel.name:
            newest[suite[0]] = kernel
    return list(newest.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--kernel", action="append", help="a kernel of the cache, from Debian; by default each release's newest"
    )
    parser.add_argument("--only", default="*", help="cases to run, a pattern")
    parser.add_argument("--update", type=Path, help="a page whose table, from its heading on, is written anew")
    parser.add_argument("--verbose", action="store_true", help="print each finding")
    arguments = parser.parse_args()
    store, results, missing = Store(), {}, 0
    kernels = [store.ensure(name) for name in arguments.kernel] if arguments.kernel else default_kernels(store)
    for kernel in kernels:
        began = time.perf_counter()
        print(kernel.name)
        found = results[kernel.name] = examine_all(kernel, arguments.only, arguments.verbose)
        unexplained = [
            row for row in found if row.verdict not in ("found", "clean, rightly") and row.case not in REASONS
        ]
        print(
            f"{len(found)} cases in {time.perf_counter() - began:.0f} s; {len(unexplained)} not found and not explained"
        )
        missing += len(unexplained)
    if arguments.update:
        page = arguments.update.read_text().partition(HEADING)[0]
        arguments.update.write_text(f"{page}{HEADING}\n\n" + "\n".join(table(results)) + "\n")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
