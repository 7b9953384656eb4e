// SPDX-License-Identifier: GPL-2.0
/* kind: reference never given back */
#include "seeded.h"

#include <linux/net.h>
static struct socket *sock;
static long io(struct file *f, unsigned int cmd, unsigned long arg)
{
	struct sock *sk = sock->sk;
	long family;

	if (cmd != _IO('S', 2))
		return -ENOTTY;
	sock_hold(sk); /* BUG */
	family = sk->sk_family;
#ifndef FIXED
	if (arg > 100)
		return -EINVAL;
#endif
	sock_put(sk);
	return family;
}
static int hello(void) { return sock_create_kern(&init_net, PF_INET, SOCK_DGRAM, IPPROTO_UDP, &sock); }
static void bye(void) { sock_release(sock); }
static const struct file_operations fops = { .owner = THIS_MODULE, .unlocked_ioctl = io };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "sock_ref", .fops = &fops };
static int __init m_init(void)
{
	int err = hello();

	if (err)
		return err;
	err = misc_register(&mdev);
	if (err)
		bye();
	return err;
}
static void __exit m_exit(void) { misc_deregister(&mdev); bye(); }
module_init(m_init);
module_exit(m_exit);
