// SPDX-License-Identifier: GPL-2.0
#include "driver.h"
/* release() frees a tasklet that may run. */
struct ch { struct tasklet_struct t; u32 n; };
static void run(struct tasklet_struct *t) { struct ch *c = from_tasklet(c, t, t); c->n++; /* the race */ }
static int c_open(struct inode *i, struct file *f)
{
	struct ch *c = kzalloc(sizeof(*c), GFP_KERNEL);
	if (!c) return -ENOMEM;
	tasklet_setup(&c->t, run);
	f->private_data = c;
	return 0;
}
static ssize_t c_write(struct file *f, const char __user *u, size_t n, loff_t *o)
{
	struct ch *c = f->private_data;
	tasklet_schedule(&c->t);
	return n;
}
static int c_release(struct inode *i, struct file *f)
{
	struct ch *c = f->private_data;
	IF_RIGHT(tasklet_kill(&c->t);)
	kfree(c);
	return 0;
}
MISC("taskletstop", .open = c_open, .write = c_write, .release = c_release);
module_misc_device(device);
