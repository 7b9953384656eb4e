"""`make check-vanilla`: kernels built from Linux's source with other options than any distribution's, in boxes.

    linux-source (Debian's package) ──▶ make, once a variant, below $XDG_CACHE_HOME/kobox/vanilla
        ──▶ kobox kernel add --build ──▶ modules of tests/modules: built for it, loaded, unloaded; errors told

Variants: `plain`, a kernel of a few hundred options; `debug`, the same with KASAN, lockdep, DEBUG_ATOMIC_SLEEP and
DEBUG_LIST, whose reports `kobox run` has to tell. A build takes ten minutes and more, and is kept; it wants gcc, make,
flex, bison, bc and libelf's headers.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from kobox.images.debian.packages import packages
from kobox.images.store import Store, default_root

ROOT = Path(__file__).parent.parent
MODULES = ROOT / "tests/modules"
KOBOX = str(Path(sys.executable).with_name("kobox"))
PLACE = default_root() / "vanilla"
COMMON = """
64BIT LOCALVERSION_AUTO=n MODULES MODULE_UNLOAD MODVERSIONS PRINTK PRINTK_TIME BUG TTY UNIX98_PTYS SERIAL_8250
SERIAL_8250_CONSOLE BLK_DEV_INITRD RD_GZIP RD_ZSTD PROC_FS SYSFS TMPFS DEVTMPFS DEBUG_FS BINFMT_ELF BINFMT_SCRIPT
KALLSYMS KALLSYMS_ALL ACPI PCI VIRTIO_MENU VIRTIO_MMIO VIRTIO_PCI VIRTIO_MMIO_CMDLINE_DEVICES BLOCK VIRTIO_BLK=m
VIRTIO_CONSOLE NET INET UNIX PACKET NETDEVICES VIRTIO_NET=m DUMMY=m FUTEX EPOLL SIGNALFD TIMERFD EVENTFD SHMEM AIO
FILE_LOCKING POSIX_TIMERS MULTIUSER SYSCTL PROC_SYSCTL HIGH_RES_TIMERS NO_HZ_IDLE UNWINDER_ORC MAGIC_SYSRQ
INOTIFY_USER EXT4_FS=m BLK_DEV_LOOP=m CRYPTO EXPERT SMP SLUB SLUB_DEBUG FTRACE KPROBES
"""
VARIANTS = {
    "plain": "",
    "debug": "DEBUG_KERNEL KASAN KASAN_GENERIC KASAN_OUTLINE KASAN_VMALLOC PROVE_LOCKING DEBUG_ATOMIC_SLEEP DEBUG_LIST",
}
# (variant, module, parameters, what the story has to say; "" for a life without a complaint)
LIVES = (
    *(("plain", name, "", "") for name in ("hello", "good", "params", "chardev", "miscdev")),
    *(("debug", name, "", "") for name in ("hello", "good", "params", "chardev", "miscdev")),
    ("plain", "faulty", "what=null", "NULL pointer dereference"),
    ("debug", "faulty", "what=null", "KASAN: null-ptr-deref"),
    ("plain", "faulty", "what=warn", "WARNING"),
    ("debug", "faulty", "what=double_free", "KASAN: double-free"),
    ("debug", "faulty", "what=lock_twice", "possible recursive locking detected"),
    ("debug", "faulty", "what=sleep_atomic", "BUG: scheduling while atomic"),
    ("debug", "faulty", "what=list", "list_del corruption"),
)


def main() -> int:
    """Build what is missing, and tell how each life went. The exit status is 1 if one was not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variant", nargs="*", default=list(VARIANTS), help=f"of {', '.join(VARIANTS)} (default: all)")
    parser.add_argument("--source", default="6.1", help="the version of Debian's linux-source (default: 6.1)")
    parser.add_argument("--build", action="append", default=[], metavar="VARIANT=DIR", help="take one built already")
    arguments = parser.parse_args()
    given = dict(one.split("=", 1) for one in arguments.build)
    wrong = 0
    for variant in arguments.variant:
        tree = Path(given[variant]) if variant in given else built(arguments.source, variant)
        name = added(tree)
        for one, module, parameters, wanted in LIVES:
            if one == variant:
                wrong += not lived(name, module, parameters, wanted)
    return int(wrong > 0)


def built(version: str, variant: str) -> Path:
    """The build tree of a variant, made where it is not there yet."""
    tree = PLACE / f"{version}-{variant}"
    if (tree / "arch/x86/boot/bzImage").exists() and (tree / "modules.order").exists():
        return tree
    source = unpacked(version)
    tree.mkdir(parents=True, exist_ok=True)
    if not (tree / ".config").exists():
        make(source, tree, "tinyconfig")
        words = f"{COMMON} {VARIANTS[variant]}".split()
        options = [word if "=" in word else f"{word}=y" for word in words]
        with (tree / ".config").open("a") as config:
            config.write(f'CONFIG_LOCALVERSION="-{variant}"\n' + "".join(f"CONFIG_{option}\n" for option in options))
        make(source, tree, "olddefconfig")
        config_text = (tree / ".config").read_text()
        missing = [one for one in VARIANTS[variant].split() if f"CONFIG_{one}=y" not in config_text]
        if missing:
            raise SystemExit(f"{tree}/.config: the kernel does not take {', '.join(missing)}")
    print(f"building {variant} in {tree}: ten minutes and more", flush=True)
    make(source, tree, f"-j{os.cpu_count()}", "bzImage", "modules")
    return tree


def make(source: Path, tree: Path, *goals: str) -> None:
    subprocess.run(["make", "-s", "-C", str(source), f"O={tree}", *goals], check=True, stdout=subprocess.DEVNULL)


def unpacked(version: str) -> Path:
    """Linux's source, out of Debian's package."""
    source = PLACE / f"linux-source-{version}"
    if not (source / "Makefile").exists():
        (tree,) = packages(Store(), [f"linux-source-{version}"], alone=True)
        aside = PLACE / ".unpacking"
        shutil.rmtree(aside, ignore_errors=True)
        with tarfile.open(tree / f"usr/src/linux-source-{version}.tar.xz") as archive:
            archive.extractall(aside, filter="tar")
        (aside / source.name).rename(source)
    return source


def added(tree: Path) -> str:
    """The name of a build in the cache."""
    release = (tree / "include/config/kernel.release").read_text().strip()
    subprocess.run([KOBOX, "kernel", "add", "--build", str(tree)], check=True)
    return release


def lived(kernel: str, module: str, parameters: str, wanted: str) -> bool:
    """Whether the life of a module went as it should; a line tells."""
    words = [KOBOX, "run", "--json", "-k", kernel, str(MODULES / f"{module}.c"), *parameters.split()]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    verdict = events[-1] if events else {"text": done.stderr.strip().splitlines()[-1:]}
    right = wanted in done.stdout and bool(done.returncode) if wanted else done.returncode == 0
    print(f"{'ok ' if right else 'NOT'} {kernel} {module} {parameters}: {verdict.get('text')}", flush=True)
    return right


if __name__ == "__main__":
    sys.exit(main())
