// SPDX-License-Identifier: GPL-2.0
/* kind: out of bounds */
#include "seeded.h"

struct psock { struct sock sk; u8 last[64]; };
static struct proto pr = { .name = "SEEDED", .owner = THIS_MODULE, .obj_size = sizeof(struct psock),
	.useroffset = offsetof(struct psock, last), .usersize = 64 };
static int rl(struct socket *s)
{
	struct sock *sk = s->sk;
	if (sk) {
		s->sk = NULL;
		sock_orphan(sk);
		sock_put(sk);
	}
	return 0;
}
static int snd(struct socket *s, struct msghdr *m, size_t n)
{
	struct psock *p = (struct psock *)s->sk;
#ifdef FIXED
	if (n > sizeof(p->last))
		return -EMSGSIZE;
#endif
	return memcpy_from_msg(p->last, m, n) ? -EFAULT : n; /* BUG */
}
static const struct proto_ops ops = {
	.family = 29, .owner = THIS_MODULE, .release = rl, .bind = sock_no_bind, .connect = sock_no_connect,
	.socketpair = sock_no_socketpair, .accept = sock_no_accept, .getname = sock_no_getname, .ioctl = sock_no_ioctl,
	.listen = sock_no_listen, .shutdown = sock_no_shutdown, .sendmsg = snd, .recvmsg = sock_no_recvmsg, .mmap = sock_no_mmap,
};
static int create(struct net *net, struct socket *s, int proto, int kern)
{
	struct sock *sk = sk_alloc(net, 29, GFP_KERNEL, &pr, kern);
	if (!sk)
		return -ENOMEM;
	s->ops = &ops;
	sock_init_data(s, sk);
	return 0;
}
static const struct net_proto_family fam = { .family = 29, .create = create, .owner = THIS_MODULE };
static int __init m_init(void)
{
	int err = proto_register(&pr, 1);
	if (err)
		return err;
	err = sock_register(&fam);
	if (err)
		proto_unregister(&pr);
	return err;
}
static void __exit m_exit(void) { sock_unregister(29); proto_unregister(&pr); }
module_init(m_init);
module_exit(m_exit);
