// SPDX-License-Identifier: GPL-2.0
#include "driver.h"
/* Each open file has a timer that ages what it holds. */
struct ctx { struct timer_list timer; unsigned long age; };
static void tick(struct timer_list *t)
{
	struct ctx *c = from_timer(c, t, timer);
	c->age++; /* the race */
	mod_timer(&c->timer, jiffies + 2);
}
static int t_open(struct inode *i, struct file *f)
{
	struct ctx *c = kzalloc(sizeof(*c), GFP_KERNEL);
	if (!c)
		return -ENOMEM;
	timer_setup(&c->timer, tick, 0);
	mod_timer(&c->timer, jiffies + 1);
	f->private_data = c;
	return 0;
}
static int t_release(struct inode *i, struct file *f)
{
	struct ctx *c = f->private_data;
	IF_RIGHT(del_timer_sync(&c->timer);)
	IF_WRONG(del_timer(&c->timer);) /* the race */
	kfree(c); /* the race */
	return 0;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .open = t_open, .release = t_release };
static struct miscdevice dev = { .minor = MISC_DYNAMIC_MINOR, .name = "closetimer", .fops = &fops };
module_misc_device(dev);
