// SPDX-License-Identifier: GPL-2.0
/*
 * What nobody can free, show or count any more, and (right=1) what is as it should be. `what` names the case.
 */
#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/kobject.h>
#include <linux/list.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/srcu.h>
#include <linux/tty.h>
#include <linux/tty_ldisc.h>
#include <linux/uaccess.h>

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("keeps what nobody knows of");

static char *what = "";
module_param(what, charp, 0);
static bool right;
module_param(right, bool, 0);
static unsigned int bits = 4;
module_param(bits, uint, 0644);

struct item {
	struct list_head node;
	struct item *other;
	char name[40];
};

static struct item *make(void)
{
	struct item *made = kzalloc(sizeof(*made), GFP_KERNEL); /* alone: bad */ /* two: bad */ /* held: made */

	if (made)
		INIT_LIST_HEAD(&made->node);
	return made;
}

static void make_items(void)
{
	struct item *one = make(), *two = NULL;

	if (!strcmp(what, "two") || !strcmp(what, "held")) {
		two = make();
		if (one && two) {
			one->other = two;
			two->other = one;
		}
	}
	if (!strcmp(what, "held"))
		current->journal_info = one;
	if (right) {
		kfree(one);
		kfree(two);
	}
}

static struct debugfs_blob_wrapper blob;
static struct dentry *shown;
static struct srcu_struct readers;
static bool counted;

static int line_open(struct tty_struct *tty)
{
	tty->disc_data = kzalloc(32, GFP_KERNEL); /* line: bad */
	return tty->disc_data ? 0 : -ENOMEM;
}

static void line_close(struct tty_struct *tty)
{
	if (right)
		kfree(tty->disc_data);
	tty->disc_data = NULL;
}

static struct tty_ldisc_ops line = {
	.owner = THIS_MODULE, .num = 29, .name = "kept", .open = line_open, .close = line_close,
};
static bool lined;

static int refused;

static long ask(struct file *file, unsigned int request, unsigned long argument)
{
	u32 value;

	if (request != 7)
		return -ENOTTY;
	if (copy_from_user(&value, (void __user *)argument, sizeof(value))) {
		if (right)
			return -EFAULT;
		WRITE_ONCE(refused, refused + 1);
		return EFAULT; /* errno: bad */
	}
	return 14; /* a count */
}

static ssize_t give(struct file *file, char __user *user, size_t size, loff_t *at)
{
	unsigned int wanted = READ_ONCE(bits);
	u32 mask;

	if (right && wanted > 31)
		wanted = 31;
	mask = (1U << wanted) - 1; /* setting: bad */
	return simple_read_from_buffer(user, size, at, &mask, sizeof(mask));
}

static int enter(struct inode *inode, struct file *file)
{
	if (strcmp(what, "open") || !(file->f_mode & FMODE_WRITE))
		return 0;
	if (right)
		return -EBUSY;
	WRITE_ONCE(refused, refused + 1); /* open: bad */
	return EBUSY;
}

static int map(struct file *file, struct vm_area_struct *area)
{
	if (area->vm_pgoff <= 3)
		return 0;
	if (right)
		return -EINVAL;
	WRITE_ONCE(refused, refused + 1); /* map: bad */
	return EINVAL;
}

static const struct file_operations operations = {
	.owner = THIS_MODULE, .open = enter, .unlocked_ioctl = ask, .read = give, .mmap = map,
};
static struct miscdevice device = { .minor = MISC_DYNAMIC_MINOR, .name = "kept", .fops = &operations };

static int __init kept_init(void)
{
	int error = misc_register(&device);

	if (error)
		return error;
	if (!strcmp(what, "alone") || !strcmp(what, "two") || !strcmp(what, "held"))
		make_items();
	if (!strcmp(what, "blob")) {
		blob.data = kzalloc(48, GFP_KERNEL);
		blob.size = right ? 48 : 64;
		shown = debugfs_create_blob("kept", 0444, NULL, &blob); /* blob: bad */
	}
	if (!strcmp(what, "srcu"))
		counted = !init_srcu_struct(&readers); /* srcu: bad */
	if (!strcmp(what, "line"))
		lined = !tty_register_ldisc(&line);
	return 0;
}

static void __exit kept_exit(void)
{
	misc_deregister(&device);
	debugfs_remove(shown);
	kfree(blob.data);
	if (counted && right)
		cleanup_srcu_struct(&readers);
	if (lined)
		tty_unregister_ldisc(&line);
}

module_init(kept_init);
module_exit(kept_exit);
