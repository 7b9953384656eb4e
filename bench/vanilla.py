"""`make check-vanilla`: kernels built from Linux's source with other options than any distribution's, in boxes.

    linux-source (Debian's package) ──▶ make, once a variant, below $XDG_CACHE_HOME/kobox/vanilla
        ──▶ kobox kernel add --build ──▶ modules of tests/modules: built for it, loaded, unloaded; errors told

Variants: `kasan` has KASAN, lockdep, DEBUG_ATOMIC_SLEEP and DEBUG_LIST; `rt` is PREEMPT_RT, which Linux's own source
has for x86 since 6.12; `options` has every debugging option that `make allmodconfig` sets; `defconfig` is what
`make defconfig` makes. The first three are kernels of a few hundred options. A build takes ten minutes to an hour, and
is kept; it wants gcc, make, flex, bison, bc and libelf's headers.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from kobox.arch.registry import architecture
from kobox.box.boot.boot_failure import check_needs
from kobox.images.debian.packages import packages
from kobox.images.store import Store, default_root

ROOT = Path(__file__).parent.parent
MODULES = ROOT / "tests/modules"
KOBOX = str(Path(sys.executable).with_name("kobox"))
PLACE = default_root() / "vanilla"
COMMON = """
64BIT LOCALVERSION_AUTO=n MODULES MODULE_UNLOAD MODVERSIONS PRINTK PRINTK_TIME BUG TTY UNIX98_PTYS SERIAL_8250
SERIAL_8250_CONSOLE BLK_DEV_INITRD RD_GZIP RD_ZSTD PROC_FS SYSFS TMPFS DEVTMPFS DEBUG_FS PROC_KCORE BINFMT_ELF
BINFMT_SCRIPT KALLSYMS KALLSYMS_ALL ACPI PCI VIRTIO_MENU VIRTIO_MMIO VIRTIO_PCI VIRTIO_MMIO_CMDLINE_DEVICES BLOCK
VIRTIO_BLK=m VIRTIO_CONSOLE NET INET UNIX PACKET NETDEVICES VIRTIO_NET=m DUMMY=m FUTEX EPOLL SIGNALFD TIMERFD EVENTFD
SHMEM AIO
FILE_LOCKING POSIX_TIMERS MULTIUSER SYSCTL PROC_SYSCTL HIGH_RES_TIMERS NO_HZ_IDLE UNWINDER_ORC MAGIC_SYSRQ
INOTIFY_USER EXT4_FS=m BLK_DEV_LOOP=m CRYPTO EXPERT SMP SLUB SLUB_DEBUG FTRACE KPROBES
"""
KASAN = "DEBUG_KERNEL KASAN KASAN_GENERIC KASAN_OUTLINE KASAN_VMALLOC PROVE_LOCKING DEBUG_ATOMIC_SLEEP DEBUG_LIST"


@dataclass(frozen=True, slots=True)
class Variant:
    """A kernel to build: the configuration that `options` are added to, and whose linux-source of Debian it is."""

    base: str = "tinyconfig"
    options: str = COMMON
    must: str = ""  # options that the configuration has to have in the end
    source: str = "6.1"
    suite: str = "bookworm"


VARIANTS = {
    "kasan": Variant(options=COMMON + KASAN, must=KASAN),
    "rt": Variant(options=f"{COMMON} PREEMPT_RT", must="PREEMPT_RT", source="6.12", suite="trixie"),
    "options": Variant(must="KASAN PROVE_LOCKING DEBUG_OBJECTS DEBUG_KMEMLEAK UBSAN FAULT_INJECTION PAGE_POISONING"),
    "defconfig": Variant(base="x86_64_defconfig", options=""),
}
CLEAN = ("hello", "good", "params", "chardev", "miscdev")
# (variant, module, parameters, what the story has to say; "" for a life without a complaint)
LIVES = (
    *((variant, name, "", "") for variant in VARIANTS for name in CLEAN),
    ("defconfig", "faulty", "what=null", "NULL pointer dereference"),
    ("defconfig", "faulty", "what=warn", "WARNING"),
    ("rt", "faulty", "what=null", "NULL pointer dereference"),
    ("rt", "faulty", "what=warn", "WARNING"),
    ("options", "faulty", "what=null", "KASAN: null-ptr-deref"),
    ("options", "faulty", "what=double_free", "KASAN: double-free"),
    ("options", "faulty", "what=list", "list_del corruption"),
    ("kasan", "faulty", "what=null", "KASAN: null-ptr-deref"),
    ("kasan", "faulty", "what=double_free", "KASAN: double-free"),
    ("kasan", "faulty", "what=lock_twice", "possible recursive locking detected"),
    ("kasan", "faulty", "what=sleep_atomic", "BUG: scheduling while atomic"),
    ("kasan", "faulty", "what=list", "list_del corruption"),
)
# Where the debugging options of Linux stand.
KCONFIGS = ("lib/Kconfig.*", "mm/Kconfig.debug", "kernel/rcu/Kconfig.debug", "arch/x86/Kconfig.debug")
# Left out: what makes a kernel of some GB, what ends the machine at the first report, what the compiler has to bring.
NOT_WANTED = re.compile(r"DEBUG_INFO|GDB_SCRIPTS|PANIC|GCOV|KGDB|KCOV_INSTRUMENT|TEST|KUNIT|TORTURE")


def main() -> int:
    """Build what is missing, and tell how each life went. The exit status is 1 if one was not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variant", nargs="*", default=list(VARIANTS), help=f"of {', '.join(VARIANTS)} (default: all)")
    parser.add_argument("--build", action="append", default=[], metavar="VARIANT=DIR", help="take one built already")
    arguments = parser.parse_args()
    given = dict(one.split("=", 1) for one in arguments.build)
    wrong = 0
    for variant in arguments.variant:
        tree = Path(given[variant]) if variant in given else built(variant)
        name = added(tree)
        for one, module, parameters, wanted in LIVES:
            if one == variant:
                wrong += not lived(name, module, parameters, wanted)
    return int(wrong > 0)


def built(name: str) -> Path:
    """The build tree of a variant, made where it is not there yet."""
    variant = VARIANTS[name]
    tree, options = PLACE / f"{variant.source}-{name}", variant.options.split()
    wanted = f"{variant.base} {' '.join(options)}"
    stamp = tree / ".built-with"
    if stamp.exists() and stamp.read_text() == wanted:
        return tree
    source = unpacked(variant)
    tree.mkdir(parents=True, exist_ok=True)
    if name == "options":
        make(source, tree, "allmodconfig")
        options += debugging_options(source, (tree / ".config").read_text())
    make(source, tree, variant.base)
    with (tree / ".config").open("a") as config:
        config.write(f'CONFIG_LOCALVERSION="-{name}"\n')
        config.writelines(f"CONFIG_{option if '=' in option else f'{option}=y'}\n" for option in options)
    make(source, tree, "olddefconfig")
    taken = set(re.findall(r"^CONFIG_(\w+)=y", (tree / ".config").read_text(), re.MULTILINE))
    if missing := set(variant.must.split()) - taken:
        raise SystemExit(f"{tree}/.config: the kernel does not take {', '.join(sorted(missing))}")
    check_needs(f"{tree}/.config", dict.fromkeys(taken, "y"), architecture("x86_64"))  # before an hour's work
    print(f"building {name} in {tree}: ten minutes and more", flush=True)
    make(source, tree, f"-j{os.cpu_count()}", "bzImage", "modules")
    stamp.write_text(wanted)
    return tree


def debugging_options(source: Path, config: str) -> list[str]:
    """The debugging options of Linux that a configuration sets to y."""
    files = [file for pattern in KCONFIGS for file in source.glob(pattern)]
    known = {name for file in files for name in re.findall(r"^config (\w+)", file.read_text(), re.MULTILINE)}
    taken = re.findall(r"^CONFIG_(\w+)=y", config, re.MULTILINE)
    return [name for name in taken if name in known and not NOT_WANTED.search(name)]


def make(source: Path, tree: Path, *goals: str) -> None:
    words = ["make", "-s", "-C", str(source), f"O={tree}", *goals]
    done = subprocess.run(words, stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: exit status {done.returncode}")


def unpacked(variant: Variant) -> Path:
    """Linux's source, out of Debian's package."""
    name = f"linux-source-{variant.source}"
    source = PLACE / name
    if not (source / "Makefile").exists():
        (tree,) = packages(Store(), [name], suite=variant.suite, alone=True)
        aside = PLACE / ".unpacking"
        shutil.rmtree(aside, ignore_errors=True)
        with tarfile.open(tree / f"usr/src/{name}.tar.xz") as archive:
            archive.extractall(aside, filter="tar")
        (aside / name).rename(source)
    return source


def added(tree: Path) -> str:
    """The name of a build in the cache."""
    release = (tree / "include/config/kernel.release").read_text().strip()
    subprocess.run([KOBOX, "kernel", "add", "--build", str(tree)], check=True)
    return release


def lived(kernel: str, module: str, parameters: str, wanted: str) -> bool:
    """Whether the life of a module went as it should; a line tells."""
    with tempfile.TemporaryDirectory(prefix="kobox-vanilla-") as place:  # a module is built beside its source
        source = shutil.copy(MODULES / f"{module}.c", place)
        words = [KOBOX, "run", "--json", "-k", kernel, source, *parameters.split()]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    verdict = events[-1] if events else {"text": done.stderr.strip().splitlines()[-1:]}
    right = wanted in done.stdout and bool(done.returncode) if wanted else done.returncode == 0
    print(f"{'ok ' if right else 'NOT'} {kernel} {module} {parameters}: {verdict.get('text')}", flush=True)
    return right


if __name__ == "__main__":
    sys.exit(main())
