"""Bugs of PCI drivers that stable releases of 6.1 have fixed, put back and looked for: `make known-bugs`.

Each is a driver's source from Debian's linux-source-6.1, in which the fix is undone, built and checked twice: with the
bug and without. It counts as found when the check says something of the driver with the bug that it does not say
without.

$ python bench/known_bugs.py --source /usr/src/linux-source-6.1 --kernel 6.1.0-56-amd64
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from kobox.checks.report.finding import Finding
from kobox.checks.runner.check import check
from kobox.checks.runner.plan import CheckPlan
from kobox.errors import KoboxError
from kobox.images.store import Store
from kobox.kbuild.build import build


class Bug(NamedTuple):
    """The title of the commit that fixed it, as Debian's changelog has it; the directory; the module, its files; what
    undoes the fix: (file, text, what stood there before)."""

    fix: str
    directory: str
    module: str
    files: tuple[str, ...]
    undo: tuple[tuple[str, str, str], ...]
    base: tuple[str, str, tuple[str, ...]] | None = None  # a module that it needs and Debian does not build


def _i2c(name: str) -> Bug:
    file = f"i2c-{name}.c"
    text = f"\tret = i2c_add_adapter(&{name}_adapter);\n\tif (ret)\n\t\tgoto release_region;\n"
    undo = (file, text, f"\tret = i2c_add_adapter(&{name}_adapter);\n\tif (ret)\n\t\treturn ret;\n")
    label = (file, "release_region:\n", "release_region: __maybe_unused;\n")
    fix = f"i2c: {name}: Fix an error handling path in {name}_probe()"
    return Bug(fix, "drivers/i2c/busses", f"i2c-{name}", (file,), (undo, label))


def _ntb(maker: str, fix: str, directory: str, file: str, more: Sequence[str] = ()) -> Bug:
    variable = {"idt": "dbgfs_topdir"}.get(maker, "debugfs_dir")
    text = f"\tif (ret)\n\t\tdebugfs_remove_recursive({variable});\n\n\treturn ret;\n"
    return Bug(
        fix,
        f"drivers/ntb/hw/{directory}",
        f"ntb_hw_{directory}",
        (file, *more),
        ((file, text, "\treturn ret;\n"),),
        ("drivers/ntb", "ntb", ("core.c",)),
    )


BUGS = (
    _ntb("amd", "NTB: amd: Fix error handling in amd_ntb_pci_driver_init()", "amd", "ntb_hw_amd.c"),
    _ntb("idt", "ntb: idt: Fix error handling in idt_pci_driver_init()", "idt", "ntb_hw_idt.c"),
    _ntb(
        "intel",
        "ntb: intel: Fix error handling in intel_ntb_pci_driver_init()",
        "intel",
        "ntb_hw_gen1.c",
        ("ntb_hw_gen3.c", "ntb_hw_gen4.c"),
    ),
    _i2c("ali1535"),
    _i2c("ali15x3"),
    _i2c("sis630"),
    Bug(
        "scsi: stex: Fix reboot_notifier leak in probe error path",
        "drivers/scsi",
        "stex",
        ("stex.c",),
        (
            (
                "stex.c",
                "out_disable:\n\tunregister_reboot_notifier(&stex_notifier);\n",
                "out_disable:\n",
            ),
        ),
    ),
    Bug(
        "scsi: 3w-xxxx: Add error handling for initialization failure in tw_probe()",
        "drivers/scsi",
        "3w-xxxx",
        ("3w-xxxx.c",),
        (
            (
                "3w-xxxx.c",
                "\tif (tw_reset_sequence(tw_dev)) {\n\t\tretval = -EINVAL;\n",
                "\tif (tw_reset_sequence(tw_dev)) {\n",
            ),
        ),
    ),
    Bug(
        "dmaengine: ioatdma: Fix leaking on version mismatch",
        "drivers/dma/ioat",
        "ioatdma",
        ("init.c", "dma.c", "prep.c", "dca.c", "sysfs.c"),
        (
            ("init.c", "\tif (version < IOAT_VER_3_0)\n\t\treturn -ENODEV;\n\n", ""),
            (
                "init.c",
                "\tpci_set_drvdata(pdev, device);\n\n",
                "\tpci_set_drvdata(pdev, device);\n\tif (version < IOAT_VER_3_0)\n\t\treturn -ENODEV;\n\n",
            ),
        ),
    ),
    Bug(
        "dmaengine: ioatdma: Fix kmemleak in ioat_pci_probe()",
        "drivers/dma/ioat",
        "ioatdma",
        ("init.c", "dma.c", "prep.c", "dca.c", "sysfs.c"),
        (
            (
                "init.c",
                "\t\tfor (i = 0; i < IOAT_MAX_CHANS; i++)\n\t\t\tkfree(device->idx[i]);\n\t\tkfree(device);\n",
                "\t\ti = 0;\n",
            ),
        ),
    ),
    Bug(
        "usb: gadget: net2280: Fix double free in probe error path",
        "drivers/usb/gadget/udc",
        "net2280",
        ("net2280.c",),
        (
            (
                "net2280.c",
                "done:\n\tif (dev)\n\t\tnet2280_remove(pdev);\n",
                "done:\n\tif (dev) {\n\t\tnet2280_remove(pdev);\n\t\tkfree(dev);\n\t}\n",
            ),
        ),
    ),
)


def prepare(bug: Bug, source: Path, where: Path, *, undone: bool) -> Path:
    """The driver's directory with what it includes beside it, and a Makefile; with the bug when `undone`."""
    where.mkdir(parents=True)
    for path in sorted((source / bug.directory).glob("*.h")) + [source / bug.directory / name for name in bug.files]:
        shutil.copy(path, where)
    for above in source.glob(f"{bug.directory}/../*.h"):
        shutil.copy(above, where)
    for path in where.glob("*.[ch]"):
        path.write_text(path.read_text().replace('#include "../', '#include "'))
    if undone:
        for name, text, before in bug.undo:
            content = (where / name).read_text()
            if content.count(text) != 1:
                raise KoboxError(f"{bug.directory}/{name}: the fix is not found there: {text!r}")
            (where / name).write_text(content.replace(text, before))
    # A module of one file is that file's name, one of several has a name of its own.
    single = bug.files == (f"{bug.module}.c",)
    lines = [f"obj-m := {bug.module}.o"]
    if not single:
        lines.append(f"{bug.module}-y := {' '.join(name.replace('.c', '.o') for name in bug.files)}")
    if bug.base is not None:
        for name in bug.base[2]:
            shutil.copy(source / bug.base[0] / name, where)
        objects = " ".join(name.replace(".c", ".o") for name in bug.base[2])
        lines += [f"obj-m += {bug.base[1]}.o", f"{bug.base[1]}-y := {objects}"]
    (where / "Makefile").write_text("\n".join(lines) + "\n")
    return where


def findings(bug: Bug, source: Path, kernel: str, where: Path, *, undone: bool) -> tuple[list[Finding], str]:
    """What a check finds, and what it says of the device."""
    directory = prepare(bug, source, where, undone=undone)
    modules = build(directory, Store().get(kernel))
    files = {path.name.removesuffix(".ko"): str(path) for path in modules}
    needs = (files[bug.base[1]],) if bug.base is not None else ()
    module = files[bug.module]
    report = check(CheckPlan(module, kernel, needs=needs, loads=1, seconds=240, workers=1, exercise="none"))
    return report.findings, str(report.plan.device or "no device")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="the kernel's source: linux-source-6.1, unpacked")
    parser.add_argument("--kernel", default="6.1.0-56-amd64", help="a kernel of the cache, of the same version")
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument("only", nargs="*", help="modules (default: all)")
    arguments = parser.parse_args()
    rows = []
    for bug in BUGS:
        if arguments.only and bug.module not in arguments.only:
            continue
        with tempfile.TemporaryDirectory() as directory:
            row: dict[str, object] = {"fix": bug.fix, "module": bug.module}
            try:
                places = Path(directory, "fixed"), Path(directory, "undone")
                known, _ = findings(bug, arguments.source, arguments.kernel, places[0], undone=False)
                found, device = findings(bug, arguments.source, arguments.kernel, places[1], undone=True)
                old = {(one.kind, one.message) for one in known}
                new = [one for one in found if (one.kind, one.message) not in old]
                row |= {"found": [f"{one.severity}: {one.kind}: {one.message}" for one in new], "device": device}
                row["without"] = len(known)
            except KoboxError as error:
                row["failed"] = str(error)
            rows.append(row)
            print(json.dumps(row), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    print(f"{sum(bool(row.get('found')) for row in rows)} of {len(rows)} found")
    return 0


if __name__ == "__main__":
    sys.exit(main())
