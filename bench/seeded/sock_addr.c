// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

struct so { struct sock sk; u8 peer[8]; };
static struct proto pr = { .name = "TOY", .owner = THIS_MODULE, .obj_size = sizeof(struct so) };
static int rel(struct socket *s) { struct sock *sk = s->sk; if (sk) { sock_orphan(sk); s->sk = NULL; sock_put(sk); } return 0; }
static int bnd(struct socket *s, struct sockaddr *a, int len)
{
	struct so *x = (void *)s->sk;
#ifdef FIXED
	if (len > 8)
		return -EINVAL;
#endif
	memcpy(x->peer, a->sa_data, len > 2 ? len - 2 : 0); /* BUG */
	return 0;
}
static const struct proto_ops po = { .family = 28, .owner = THIS_MODULE, .release = rel, .bind = bnd, .connect = sock_no_connect,
	.socketpair = sock_no_socketpair, .accept = sock_no_accept, .getname = sock_no_getname, .ioctl = sock_no_ioctl, .listen = sock_no_listen,
	.shutdown = sock_no_shutdown, .sendmsg = sock_no_sendmsg, .recvmsg = sock_no_recvmsg, .mmap = sock_no_mmap };
static int cr(struct net *n, struct socket *s, int p, int kern)
{
	struct sock *sk = sk_alloc(n, 28, GFP_KERNEL, &pr, kern);
	if (!sk)
		return -ENOMEM;
	sock_init_data(s, sk);
	s->ops = &po;
	return 0;
}
static const struct net_proto_family fam = { .family = 28, .create = cr, .owner = THIS_MODULE };
static int __init m_init(void)
{
	int err = proto_register(&pr, 0);
	if (err)
		return err;
	err = sock_register(&fam);
	if (err)
		proto_unregister(&pr);
	return err;
}
static void __exit m_exit(void) { sock_unregister(28); proto_unregister(&pr); }
module_init(m_init); module_exit(m_exit);
