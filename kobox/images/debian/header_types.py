"""Types of a kernel that was built without BTF, made from its headers: the layouts that its modules are compiled with.

    a module's source that includes the kernel's interfaces -> the kernel's own Kbuild -> DWARF -> pahole -> types.btf

What only the kernel's own files define, as `struct proc_dir_entry`, is not among them.

Source: pahole(1), gcc(1) on -fno-eliminate-unused-debug-types.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from kobox.images.kernel_image import MADE_TYPES

_HEADERS = (
    *("linux/module.h", "linux/sched.h", "linux/sched/signal.h", "linux/kallsyms.h", "linux/fs.h", "linux/cdev.h"),
    *("linux/device.h", "linux/device/driver.h", "linux/device/bus.h", "linux/device/class.h", "linux/miscdevice.h"),
    *("linux/netdevice.h", "linux/skbuff.h", "linux/slab.h", "linux/workqueue.h", "linux/timer.h"),
    *("linux/hrtimer.h", "linux/interrupt.h", "linux/irq.h", "linux/irqdesc.h", "linux/kobject.h", "linux/kernfs.h"),
    *("linux/proc_fs.h", "linux/seq_file.h", "linux/tty_driver.h", "linux/i2c.h", "linux/spi/spi.h", "linux/usb.h"),
    *("linux/platform_device.h", "linux/of.h", "linux/of_device.h", "linux/kprobes.h", "linux/xarray.h", "linux/idr.h"),
    *("linux/netfilter.h", "net/sock.h", "net/net_namespace.h", "net/genetlink.h", "net/rtnetlink.h", "linux/mount.h"),
    *("linux/crypto.h", "linux/sysctl.h", "linux/debugfs.h", "linux/dcache.h", "linux/pci.h", "linux/notifier.h"),
    *("linux/mm.h", "linux/mm_types.h", "linux/pid.h", "linux/kthread.h", "linux/rcupdate.h", "linux/percpu.h"),
    *("linux/hid.h", "linux/virtio.h", "linux/mdio.h", "linux/phy.h", "linux/gpio/driver.h", "linux/regmap.h"),
    *("linux/blkdev.h", "linux/bpf.h", "linux/ftrace.h", "linux/tracepoint.h", "linux/trace_events.h", "linux/input.h"),
    *("linux/completion.h", "linux/mutex.h", "linux/rwsem.h", "linux/semaphore.h", "linux/wait.h", "linux/pagemap.h"),
    *("linux/user_namespace.h", "linux/nsproxy.h", "linux/cred.h", "linux/fdtable.h", "linux/file.h", "linux/poll.h"),
)
_OPTIONS = "-g -gdwarf-4 -fno-eliminate-unused-debug-types -w"


def make_types(headers: Path, root: Path) -> Path | None:
    """Make the types of the kernel whose headers these are, and whose toolchain and place is `root`; None where its
    compiler or pahole does not do."""
    pahole = root / "toolchain/bin/pahole"
    words = str(pahole) if pahole.exists() else shutil.which("pahole")
    if words is None:
        return None
    lines = "".join(f"#if __has_include(<{header}>)\n#include <{header}>\n#endif\n" for header in _HEADERS)
    with tempfile.TemporaryDirectory(prefix="kobox-") as name:
        room = Path(name)
        (room / "types.c").write_text(lines)
        (room / "Kbuild").write_text(f"obj-m := types.o\nccflags-y := {_OPTIONS}\n")
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "KBUILD"))}
        target = room / MADE_TYPES
        for command in (
            ["make", "-C", str(headers), f"M={room}", "types.o"],
            [words, f"--btf_encode_detached={target}", str(room / "types.o")],
        ):
            done = subprocess.run(command, capture_output=True, env=environment, check=False)
            if done.returncode:
                return None
        return Path(shutil.copyfile(target, root / MADE_TYPES)) if target.is_file() else None
