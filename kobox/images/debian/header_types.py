"""Types of a kernel that was built without BTF, made from its headers: the layouts that its modules are compiled with.

    a module's source that includes the kernel's interfaces -> the kernel's own Kbuild -> DWARF -> pahole -> types.btf

What only the kernel's own files define is not among them, but for some structures that have been the same for years
(`_PRIVATE`). Who reads a variable of such a type without its symbol looks whether what it leads to makes sense
(`kobox.box.boot.hidden_symbols`): in a kernel that has another layout it is not found.

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
    *("linux/rhashtable.h", "linux/kdev_t.h", "linux/completion.h"),
    *("linux/hid.h", "linux/virtio.h", "linux/mdio.h", "linux/phy.h", "linux/gpio/driver.h", "linux/regmap.h"),
    *("linux/blkdev.h", "linux/bpf.h", "linux/ftrace.h", "linux/tracepoint.h", "linux/trace_events.h", "linux/input.h"),
    *("linux/completion.h", "linux/mutex.h", "linux/rwsem.h", "linux/semaphore.h", "linux/wait.h", "linux/pagemap.h"),
    *("linux/user_namespace.h", "linux/nsproxy.h", "linux/cred.h", "linux/fdtable.h", "linux/file.h", "linux/poll.h"),
)
# Of 6.1: fs/char_dev.c, block/genhd.c, drivers/base/map.c, fs/proc/internal.h, kernel/workqueue.c,
# net/netlink/af_netlink.h.
_PRIVATE = """
struct char_device_struct { struct char_device_struct *next; unsigned int major, baseminor; int minorct; char name[64];
  struct cdev *cdev; };
struct blk_major_name { struct blk_major_name *next; int major; char name[16]; void (*probe)(dev_t devt); };
struct kobj_map { struct probe { struct probe *next; dev_t dev; unsigned long range; struct module *owner; void *get;
  int (*lock)(dev_t, void *); void *data; } *probes[255]; struct mutex *lock; };
struct proc_dir_entry { atomic_t in_use; refcount_t refcnt; struct list_head pde_openers; spinlock_t pde_unload_lock;
  struct completion *pde_unload_completion; const void *proc_iops, *proc_ops, *proc_dops, *seq_ops; void *write, *data;
  unsigned int state_size, low_ino; nlink_t nlink; kuid_t uid; kgid_t gid; loff_t size;
  struct proc_dir_entry *parent; struct rb_root subdir; struct rb_node subdir_node; char *name; umode_t mode;
  u8 flags, namelen; char inline_name[]; };
struct workqueue_struct { struct list_head pwqs, list; struct mutex mutex; int work_color, flush_color;
  atomic_t nr_pwqs_to_flush; void *first_flusher; struct list_head flusher_queue, flusher_overflow, maydays;
  void *rescuer; int nr_drainers, saved_max_active; struct workqueue_attrs *unbound_attrs; void *dfl_pwq;
#ifdef CONFIG_SYSFS
  void *wq_dev;
#endif
  char name[24]; struct rcu_head rcu; };
struct netlink_table { struct rhashtable hash; struct hlist_head mc_list; void *listeners; unsigned int flags, groups;
  struct mutex *cb_mutex; struct module *module; void *bind, *unbind, *release; int registered; };
"""
_OPTIONS = "-g -gdwarf-4 -fno-eliminate-unused-debug-types -w"


def make_types(headers: Path, root: Path) -> Path | None:
    """Make the types of the kernel whose headers these are, and whose toolchain and place is `root`; None where its
    compiler or pahole does not do."""
    pahole = root / "toolchain/bin/pahole"
    words = str(pahole) if pahole.exists() else shutil.which("pahole")
    if words is None:
        return None
    lines = "".join(f"#if __has_include(<{header}>)\n#include <{header}>\n#endif\n" for header in _HEADERS)
    for source in (lines + _PRIVATE, lines):
        if (made := _compiled(source, headers, words, root)) is not None:
            return made
    return None


def _compiled(source: str, headers: Path, pahole: str, root: Path) -> Path | None:
    with tempfile.TemporaryDirectory(prefix="kobox-") as name:
        room = Path(name)
        (room / "types.c").write_text(source)
        (room / "Kbuild").write_text(f"obj-m := types.o\nccflags-y := {_OPTIONS}\n")
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "KBUILD"))}
        target = room / MADE_TYPES
        for command in (
            ["make", "-C", str(headers), f"M={room}", "types.o"],
            [pahole, f"--btf_encode_detached={target}", str(room / "types.o")],
        ):
            done = subprocess.run(command, capture_output=True, env=environment, check=False)
            if done.returncode:
                return None
        return Path(shutil.copyfile(target, root / MADE_TYPES)) if target.is_file() else None
