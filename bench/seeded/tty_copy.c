// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"
#include <linux/tty.h>
#include <linux/tty_driver.h>
#include <linux/tty_port.h>

#define ROOM 64
static u8 *fifo;
static struct tty_port port;
static struct tty_driver *drv;
static int op(struct tty_struct *t, struct file *f) { return tty_port_open(&port, t, f); }
static void cl(struct tty_struct *t, struct file *f) { tty_port_close(&port, t, f); }
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
static ssize_t wr(struct tty_struct *t, const u8 *b, size_t n)
#else
static int wr(struct tty_struct *t, const unsigned char *b, int n)
#endif
{
#ifdef FIXED
	n = min_t(int, n, ROOM);
#endif
	memcpy(fifo, b, n); /* BUG */
	return n;
}
static unsigned int room(struct tty_struct *t) { return 4096; }
static const struct tty_operations tops = { .open = op, .close = cl, .write = wr, .write_room = room };
static const struct tty_port_operations pops;
static int __init m_init(void)
{
	int err;
	fifo = kzalloc(ROOM, GFP_KERNEL);
	if (!fifo)
		return -ENOMEM;
	drv = tty_alloc_driver(1, TTY_DRIVER_REAL_RAW);
	if (IS_ERR(drv)) {
		kfree(fifo);
		return PTR_ERR(drv);
	}
	drv->driver_name = "tty_copy";
	drv->name = "ttyCP";
	drv->type = TTY_DRIVER_TYPE_SERIAL;
	drv->init_termios = tty_std_termios;
	tty_set_operations(drv, &tops);
	tty_port_init(&port);
	port.ops = &pops;
	tty_port_link_device(&port, drv, 0);
	err = tty_register_driver(drv);
	if (err) {
		tty_driver_kref_put(drv);
		tty_port_destroy(&port);
		kfree(fifo);
	}
	return err;
}
static void __exit m_exit(void)
{
	tty_unregister_driver(drv);
	tty_driver_kref_put(drv);
	tty_port_destroy(&port);
	kfree(fifo);
}
module_init(m_init);
module_exit(m_exit);
