// SPDX-License-Identifier: GPL-2.0
/* kind: leak */
#include "seeded.h"
#include <linux/tty.h>
#include <linux/tty_ldisc.h>

struct st { u32 n; u8 buf[32]; };
static int op(struct tty_struct *t)
{
	struct st *s = kzalloc(sizeof(*s), GFP_KERNEL); /* BUG */
	if (!s)
		return -ENOMEM;
	t->disc_data = s;
	return 0;
}
static void cl(struct tty_struct *t)
{
#ifdef FIXED
	kfree(t->disc_data);
#endif
	t->disc_data = NULL;
}
static struct tty_ldisc_ops ops = { .owner = THIS_MODULE, .num = 29, .name = "seeded", .open = op, .close = cl };
static int __init m_init(void) { return tty_register_ldisc(&ops); }
static void __exit m_exit(void) { tty_unregister_ldisc(&ops); }
module_init(m_init);
module_exit(m_exit);
