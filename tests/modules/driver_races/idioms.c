// SPDX-License-Identifier: GPL-2.0
#include "driver.h"
/* Nothing is wrong here in either form: idioms that are meant to race. */
static atomic_t hits; static unsigned int flags_word; static unsigned long bits; static seqcount_t seq = SEQCNT_ZERO(seq); static DEFINE_SPINLOCK(lock);
static DEFINE_SEQLOCK(sl); static u64 a1, a2; static struct cfg { struct rcu_head rcu; int x; } __rcu *cfg; static DEFINE_PER_CPU(u64, pc);
static struct llist_head ll = LLIST_HEAD_INIT(ll); struct ln { struct llist_node n; };
static DECLARE_WAIT_QUEUE_HEAD(wq); static int ready; static u64 stamp;
static ssize_t t_write(struct file *f, const char __user *u, size_t n, loff_t *p)
{
	struct cfg *c = kzalloc(sizeof(*c), GFP_KERNEL), *o; struct ln *l = kzalloc(sizeof(*l), GFP_KERNEL);
	if (!c || !l) { kfree(c); kfree(l); return -ENOMEM; }
	atomic_inc(&hits); WRITE_ONCE(flags_word, n); set_bit(n & 31, &bits);
	write_seqlock(&sl); a1 += n; a2 += n; write_sequnlock(&sl);
	spin_lock(&lock); write_seqcount_begin(&seq); stamp += n; write_seqcount_end(&seq); spin_unlock(&lock);
	c->x = n; spin_lock(&lock); o = rcu_dereference_protected(cfg, lockdep_is_held(&lock)); rcu_assign_pointer(cfg, c); spin_unlock(&lock); if (o) kfree_rcu(o, rcu);
	this_cpu_add(pc, n); llist_add(&l->n, &ll); WRITE_ONCE(ready, 1); wake_up(&wq);
	return n;
}
static ssize_t t_read(struct file *f, char __user *u, size_t n, loff_t *p)
{
	unsigned int s; u64 x, y; struct cfg *c; struct llist_node *l; struct ln *e, *t; int r, cpu;
	do { s = read_seqbegin(&sl); x = a1; y = a2; } while (read_seqretry(&sl, s));
	do { s = read_seqcount_begin(&seq); y += stamp; } while (read_seqcount_retry(&seq, s));
	rcu_read_lock(); c = rcu_dereference(cfg); r = c ? c->x : 0; rcu_read_unlock();
	for_each_possible_cpu(cpu) x += READ_ONCE(*per_cpu_ptr(&pc, cpu));
	l = llist_del_all(&ll); llist_for_each_entry_safe(e, t, l, n) kfree(e);
	wait_event_timeout(wq, READ_ONCE(ready), 1);
	return (x + y + r + atomic_read(&hits) + READ_ONCE(flags_word) + test_bit(1, &bits)) & 0;
}
static const struct file_operations fops = { .owner = THIS_MODULE, .read = t_read, .write = t_write };
static struct miscdevice dev = { .minor = MISC_DYNAMIC_MINOR, .name = "idioms", .fops = &fops };
static int __init t_init(void) { return misc_register(&dev); }
static void __exit t_exit(void) { struct ln *e, *t; misc_deregister(&dev); llist_for_each_entry_safe(e, t, llist_del_all(&ll), n) kfree(e); kfree(rcu_access_pointer(cfg)); }
module_init(t_init); module_exit(t_exit);
