"""A module written for another kernel, really compiled: what is said of each interface, and what the headers show."""

from __future__ import annotations

import pytest

from kobox.errors import BuildError
from kobox.images.store import KernelImage
from kobox.kbuild.build import build
from kobox.kbuild.hints.diagnostics import parse
from kobox.kbuild.hints.interfaces import InterfaceAdviser

# All in one file, for one run of the compiler. What a kernel of 2022 had, and some that none ever had.
OLD = """\
#include <linux/module.h>
#include <linux/cdev.h>
#include <linux/fs.h>
#include <linux/i2c.h>
#include <linux/interrupt.h>
#include <linux/mm.h>
#include <linux/platform_device.h>
#include <linux/sched.h>
#include <linux/sysfs.h>
#include <linux/timer.h>
#include <linux/uaccess.h>
MODULE_IMPORT_NS(OLD_WAY);
static int remove(struct platform_device *device) { return 0; }
static struct platform_driver old_driver = { .remove = remove };
static ssize_t read(struct file *f, struct kobject *k, struct bin_attribute *a, char *b, loff_t o, size_t n)
{ return 0; }
static struct bin_attribute old_attribute = { .read = read };
static struct file_operations old_operations;
static void tasklet(unsigned long data) { }
static DECLARE_TASKLET(old_tasklet, tasklet, 0);
static int old_mmap(struct file *f, struct vm_area_struct *vma) { vma->vm_flags |= VM_IO; return 0; }
static void many(struct timer_list *timer, struct inode *inode, struct page **pages, struct cdev *cdev)
{
    mm_segment_t old = get_fs();
    set_fs(KERNEL_DS);
    del_timer_sync(timer);
    inode->i_ctime = current_time(inode);
    get_user_pages(0, 1, 0, pages, NULL);
    down_read(&current->mm->mmap_sem);
    old_operations.iterate = NULL;
    cdev_init(cdev);
    prinkt("misspelt");
    strlcpy(NULL, NULL, 0);
    ida_simple_get(NULL, 0, 0, 0);
    kobject_and_nobody_knows(1);
}
MODULE_LICENSE("GPL");
"""


@pytest.fixture(scope="module")
def told(
    sid_kernel: KernelImage,
    trixie_kernel: KernelImage,
    debian_kernel: KernelImage,
    tmp_path_factory: pytest.TempPathFactory,
) -> str:
    """All that is said of the file, built for the newest kernel."""
    room = tmp_path_factory.mktemp("old")
    (room / "old.c").write_text(OLD)
    with pytest.raises(BuildError) as caught:
        build(room / "old.c", sid_kernel, builds=room / "builds")
    adviser = InterfaceAdviser.of(sid_kernel, [debian_kernel, trixie_kernel, sid_kernel])
    return "\n".join(adviser.advise(parse(caught.value.output)))


@pytest.mark.parametrize(
    "sentence",
    [
        "del_timer_sync() is gone since 6.15: use timer_delete_sync().",
        "  before: del_timer_sync(t);\n  now:    timer_delete_sync(t);",
        "platform_driver.remove: since 6.11 it returns nothing.",
        "bin_attribute.read: since a release from 6.16 to 6.17 it takes a const struct bin_attribute *.",
        "DECLARE_TASKLET(): since 5.9 it takes the name and a function",
        "inode.i_ctime is gone since 6.6: use inode_get_ctime()",
        "mm_struct.mmap_sem is gone since 5.8: use mmap_read_lock(mm)",
        "file_operations.iterate is gone since 6.6: use iterate_shared.",
        "get_user_pages(): since 6.5 it takes no vmas",
        "vm_area_struct.vm_flags: since 6.3 it is read-only: use vm_flags_set()",
        "MODULE_IMPORT_NS(): since 6.13 it takes a string",
        "strlcpy() is gone since 6.8: use strscpy()",
        "ida_simple_get() is gone since a release from 6.13 to 7.2: use ida_alloc()",
        "set_fs is gone as well, since 5.10.",
        "cdev_init is declared in <linux/cdev.h>: void cdev_init(struct cdev *, const struct file_operations *);",
        "prinkt() is not known to ",
        "kobject_and_nobody_knows() is not known to ",
    ],
)
def test_each_mistake_is_named_with_what_to_do(sentence: str, told: str) -> None:
    assert sentence in told


def test_declarations_stand_side_by_side(
    told: str, debian_kernel: KernelImage, trixie_kernel: KernelImage, sid_kernel: KernelImage
) -> None:
    lines = told.splitlines()
    at = lines.index(next(line for line in lines if line.startswith("platform_driver.remove")))
    there, here = lines[at + 1 : at + 3]
    assert there.split() == [
        *debian_kernel.name.split(),
        *["<linux/platform_device.h>", "int", "(*remove)(struct"],
        *["platform_device", "*);"],
    ]
    assert here.startswith(f"  {sid_kernel.name} + 1 ")
    assert here.endswith("void (*remove)(struct platform_device *);")


def test_a_newer_name_on_an_older_kernel(debian_kernel: KernelImage, sid_kernel: KernelImage) -> None:
    message = "a.c:1:2: error: implicit declaration of function 'hrtimer_setup'\n"
    adviser = InterfaceAdviser.of(debian_kernel, [sid_kernel])
    (told,) = adviser.advise(parse(message))
    assert "hrtimer_setup is not in " in told
    assert f"  {sid_kernel.name}  " in told
    (told,) = InterfaceAdviser.of(debian_kernel, []).advise(parse(message))
    assert told == f"hrtimer_setup() is newer than {debian_kernel.name}, which has hrtimer_init()."


def test_an_option_that_is_off(sid_kernel: KernelImage) -> None:
    message = "a.c:1:2: error: type defaults to 'int' in declaration of 'module_i2c_driver'\n"
    (told,) = InterfaceAdviser.of(sid_kernel, []).advise(parse(message))
    assert told == f"module_i2c_driver is there only with CONFIG_I2C, which {sid_kernel.name} is built without."


def test_a_header_that_moved_and_is_not_in_the_table(debian_kernel: KernelImage, sid_kernel: KernelImage) -> None:
    gone = "linux/blk-mq-pci.h"
    message = f"a.c:1:10: fatal error: {gone}: No such file or directory\n"
    (told,) = InterfaceAdviser.of(sid_kernel, [debian_kernel]).advise(parse(message))
    assert f"<{gone}> is in {debian_kernel.name}, not in {sid_kernel.name}." in told


@pytest.mark.parametrize(
    ("message", "code", "sentence"),
    [
        (
            "too many arguments to function 's->ops->accept'; expected 3, have 4",
            "s->ops->accept(s, n, O_NONBLOCK, true);",
            "proto_ops.accept: since 6.10 it takes a struct proto_accept_arg *.",
        ),
        (
            "expected '=', ',', ';', 'asm' or '__attribute__' before 'probe'",
            "static int __devinit probe(struct platform_device *d)",
            "__devinit is gone since 3.8: leave it out.",
        ),
        (
            "too few arguments to function 'kernel_thread'; expected 4, have 3",
            "kernel_thread(f, NULL, CLONE_FS);",
            "kernel_thread is not exported to modules since 3.7: use kthread_run()",
        ),
        (
            "'struct sk_buff' has no member named 'nh'",
            "struct iphdr *i = s->nh.iph;",
            "sk_buff.nh is gone since 2.6.22: use ip_hdr()",
        ),
    ],
)
def test_a_message_that_names_the_interface_by_another_word(
    message: str, code: str, sentence: str, sid_kernel: KernelImage
) -> None:
    output = f"a.c:8:9: error: {message}\n    8 |         {code}\n      |         ^\n"
    told = "\n".join(InterfaceAdviser.of(sid_kernel, []).advise(parse(output)))
    assert sentence in told, told
