// SPDX-License-Identifier: GPL-2.0-or-later
/* References that inline functions of the kernel's headers take: one kind for each value of `what`, eight at a write to
 * /dev/counts. With right=1 they are given back. */
#include <linux/cred.h>
#include <linux/dcache.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/net.h>
#include <linux/netdevice.h>
#include <linux/pid.h>
#include <linux/sched/mm.h>
#include <linux/sched/task.h>
#include <net/net_namespace.h>
#include <net/sock.h>

static char what[16] = "";
module_param_string(what, what, sizeof(what), 0444);
static bool right;
module_param(right, bool, 0444);

static struct socket *sock;

static void do_task(struct file *file)
{
	get_task_struct(current); /* task: bad */
	if (right)
		put_task_struct(current);
}

static void do_pid(struct file *file)
{
	struct pid *pid = get_pid(task_tgid(current)); /* pid: bad */

	if (right)
		put_pid(pid);
}

static void do_memory(struct file *file)
{
	mmgrab(current->mm); /* memory: bad */
	if (right)
		mmdrop(current->mm);
}

static void do_cred(struct file *file)
{
	const struct cred *cred = get_current_cred(); /* cred: bad */

	if (right)
		put_cred(cred);
}

static void do_dentry(struct file *file)
{
	struct dentry *dentry = dget(file->f_path.dentry); /* dentry: bad */

	if (right)
		dput(dentry);
}

static void do_parent(struct file *file)
{
	struct dentry *dentry = dget_parent(file->f_path.dentry); /* parent: bad */

	if (right)
		dput(dentry);
}

static void do_device(struct file *file)
{
	struct net_device *device;

	rcu_read_lock();
	device = dev_get_by_index_rcu(&init_net, 1);
	dev_hold(device); /* device: bad */
	rcu_read_unlock();
	if (right)
		dev_put(device);
}

static void do_net(struct file *file)
{
	struct net *net = get_net(&init_net); /* net: bad */

	if (right)
		put_net(net);
}

static void do_sock(struct file *file)
{
	sock_hold(sock->sk); /* sock: bad */
	if (right)
		sock_put(sock->sk);
}

static const struct {
	const char *name;
	void (*function)(struct file *file);
} kinds[] = {
	{ "task", do_task }, { "pid", do_pid }, { "memory", do_memory }, { "cred", do_cred }, { "dentry", do_dentry },
	{ "parent", do_parent }, { "device", do_device }, { "net", do_net }, { "sock", do_sock },
};

static ssize_t counts_write(struct file *file, const char __user *data, size_t n, loff_t *at)
{
	int i, k;

	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		for (k = 0; k < 8 && !strcmp(kinds[i].name, what); k++)
			kinds[i].function(file);
	return n;
}

static const struct file_operations fops = { .owner = THIS_MODULE, .write = counts_write };
static struct miscdevice device = { .minor = MISC_DYNAMIC_MINOR, .name = "counts", .fops = &fops };

static int __init counts_init(void)
{
	int error = sock_create_kern(&init_net, PF_INET, SOCK_DGRAM, IPPROTO_UDP, &sock);

	if (error)
		return error;
	error = misc_register(&device);
	if (error)
		sock_release(sock);
	return error;
}

static void __exit counts_exit(void)
{
	misc_deregister(&device);
	sock_release(sock);
}

module_init(counts_init);
module_exit(counts_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("references that inline functions take");
