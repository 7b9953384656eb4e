// SPDX-License-Identifier: GPL-2.0-or-later
/* tapbox: channels with ring buffers, rules, statistics, a flusher thread and a watchdog timer. */
#include <linux/module.h>
#include <linux/init.h>
#include <linux/kernel.h>
#include <linux/fs.h>
#include <linux/cdev.h>
#include <linux/device.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/list.h>
#include <linux/poll.h>
#include <linux/wait.h>
#include <linux/uaccess.h>
#include <linux/timer.h>
#include <linux/workqueue.h>
#include <linux/kthread.h>
#include <linux/debugfs.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include <linux/idr.h>
#include <linux/version.h>
#include <linux/ctype.h>
#include <linux/sort.h>
#include <linux/crc32.h>

#define TB_CHANNELS 4
#define TB_MAX_RULE 64
#define TB_NAME 16

struct tb_config {
	__u32 size;
	__u32 flags;
	char name[TB_NAME];
};

struct tb_rule_arg {
	__u32 id;
	__u32 match_len;
	__u64 match;	/* user pointer */
	__u32 action;
	__u32 pad;
};

struct tb_stats {
	__u64 in, out, dropped, matched;
};

#define TB_GET_CONFIG _IOR('T', 1, struct tb_config)
#define TB_SET_CONFIG _IOW('T', 2, struct tb_config)
#define TB_ADD_RULE _IOWR('T', 3, struct tb_rule_arg)
#define TB_DEL_RULE _IOW('T', 4, __u32)
#define TB_STATS _IOR('T', 5, struct tb_stats)
#define TB_FLUSH _IO('T', 6)
#define TB_CRC _IOR('T', 7, __u32)

enum { TB_PASS, TB_DROP, TB_UPPER, TB_REVERSE, TB_ACTIONS };

struct tb_rule {
	struct list_head list;
	int id;
	u32 action;
	u32 len;
	u64 hits;
	u8 match[];
};

struct tb_chan {
	struct cdev cdev;
	struct device *dev;
	int index;
	struct mutex lock;
	u8 *ring;
	u32 size, head, tail;
	char name[TB_NAME];
	struct list_head rules;
	struct idr ids;
	struct tb_stats stats;
	wait_queue_head_t readers;
	struct fasync_struct *async;
	struct timer_list watchdog;
	struct work_struct report;
	u32 idle_ticks;
	void *shared;
	spinlock_t stat_lock;
	struct dentry *dir;
};

static unsigned int ring_size = 512;
module_param(ring_size, uint, 0644);
MODULE_PARM_DESC(ring_size, "bytes of a channel's ring");
static bool verbose;
module_param(verbose, bool, 0644);

static struct tb_chan *chans[TB_CHANNELS];
static dev_t tb_base;
static struct class *tb_class;
static struct dentry *tb_debug;
static struct proc_dir_entry *tb_proc;
static struct workqueue_struct *tb_wq;
static struct task_struct *tb_flusher;
static struct kmem_cache *tb_note_cache;

struct tb_note {
	struct list_head list;
	unsigned long when;
	char text[48];
};
static LIST_HEAD(tb_notes);
static unsigned int tb_note_count;
static DEFINE_SPINLOCK(tb_note_lock);

static void tb_note(const char *fmt, ...) __printf(1, 2);
static void tb_note(const char *fmt, ...)
{
	struct tb_note *n = kmem_cache_zalloc(tb_note_cache, GFP_ATOMIC), *old = NULL;
	va_list args;

	if (!n)
		return;
	va_start(args, fmt);
	vscnprintf(n->text, sizeof(n->text), fmt, args);
	va_end(args);
	n->when = jiffies;
	spin_lock_bh(&tb_note_lock);
	list_add_tail(&n->list, &tb_notes);
	if (++tb_note_count > 32) {
		old = list_first_entry(&tb_notes, struct tb_note, list);
		list_del(&old->list);
		tb_note_count--;
	}
	spin_unlock_bh(&tb_note_lock);
	if (old)
		kmem_cache_free(tb_note_cache, old);
}

static u32 tb_used(const struct tb_chan *c)
{
	return (c->head + c->size - c->tail) % c->size;
}

static u32 tb_room(const struct tb_chan *c)
{
	return c->size - 1 - tb_used(c);
}

static void tb_put(struct tb_chan *c, const u8 *data, u32 len)
{
	u32 first = min(len, c->size - c->head);

	memcpy(c->ring + c->head, data, first);
	memcpy(c->ring, data + first, len - first);
	c->head = (c->head + len) % c->size;
}

static void tb_get(struct tb_chan *c, u8 *data, u32 len)
{
	u32 first = min(len, c->size - c->tail);

	memcpy(data, c->ring + c->tail, first);
	memcpy(data + first, c->ring, len - first);
	c->tail = (c->tail + len) % c->size;
}

static void tb_reverse(u8 *data, u32 len)
{
	u32 i;

	for (i = 0; i < len / 2; i++)
		swap(data[i], data[len - 1 - i]);
}

static int tb_apply(struct tb_chan *c, u8 *data, u32 len)
{
	struct tb_rule *r;
	u32 i;

	list_for_each_entry(r, &c->rules, list) {
		if (r->len > len || memcmp(r->match, data, r->len))
			continue;
		r->hits++;
		spin_lock_bh(&c->stat_lock);
		c->stats.matched++;
		spin_unlock_bh(&c->stat_lock);
		switch (r->action) {
		case TB_DROP:
			return 1;
		case TB_UPPER:
			for (i = 0; i < len; i++)
				data[i] = toupper(data[i]);
			break;
		case TB_REVERSE:
			tb_reverse(data, len);
			break;
		}
	}
	return 0;
}

static int tb_open(struct inode *inode, struct file *file)
{
	struct tb_chan *c = container_of(inode->i_cdev, struct tb_chan, cdev);

	file->private_data = c;
	if (verbose)
		tb_note("open of %s by %d", c->name, current->pid);
	return nonseekable_open(inode, file);
}

static int tb_fasync(int fd, struct file *file, int on)
{
	struct tb_chan *c = file->private_data;

	return fasync_helper(fd, file, on, &c->async);
}

static int tb_release(struct inode *inode, struct file *file)
{
	tb_fasync(-1, file, 0);
	return 0;
}

static ssize_t tb_read(struct file *file, char __user *buf, size_t count, loff_t *pos)
{
	struct tb_chan *c = file->private_data;
	u8 *copy;
	u32 len;
	ssize_t ret;

	if (!count)
		return 0;
	if (mutex_lock_interruptible(&c->lock))
		return -ERESTARTSYS;
	while (!tb_used(c)) {
		mutex_unlock(&c->lock);
		if (file->f_flags & O_NONBLOCK)
			return -EAGAIN;
		ret = wait_event_interruptible_timeout(c->readers, READ_ONCE(c->head) != READ_ONCE(c->tail), HZ / 10);
		if (ret < 0)
			return ret;
		if (!ret)
			return 0;
		if (mutex_lock_interruptible(&c->lock))
			return -ERESTARTSYS;
	}
	len = min_t(size_t, count, tb_used(c));
	copy = kmalloc(len, GFP_KERNEL);
	if (!copy) {
		ret = -ENOMEM;
		goto out;
	}
	tb_get(c, copy, len);
	ret = copy_to_user(buf, copy, len) ? -EFAULT : len;
	kfree(copy);
	spin_lock_bh(&c->stat_lock);
	c->stats.out += len;
	spin_unlock_bh(&c->stat_lock);
out:
	mutex_unlock(&c->lock);
	return ret;
}

static ssize_t tb_write(struct file *file, const char __user *buf, size_t count, loff_t *pos)
{
	struct tb_chan *c = file->private_data;
	u8 *copy;
	ssize_t ret = count;

	if (!count)
		return 0;
	if (count > PAGE_SIZE)
		return -EMSGSIZE;
	copy = memdup_user(buf, count);
	if (IS_ERR(copy))
		return PTR_ERR(copy);
	if (mutex_lock_interruptible(&c->lock)) {
		kfree(copy);
		return -ERESTARTSYS;
	}
	if (tb_apply(c, copy, count) || tb_room(c) < count) {
		spin_lock_bh(&c->stat_lock);
		c->stats.dropped += count;
		spin_unlock_bh(&c->stat_lock);
	} else {
		tb_put(c, copy, count);
		spin_lock_bh(&c->stat_lock);
		c->stats.in += count;
		spin_unlock_bh(&c->stat_lock);
	}
	mutex_unlock(&c->lock);
	kfree(copy);
	wake_up_interruptible(&c->readers);
	kill_fasync(&c->async, SIGIO, POLL_IN);
	return ret;
}

static __poll_t tb_poll(struct file *file, poll_table *wait)
{
	struct tb_chan *c = file->private_data;
	__poll_t mask = 0;

	poll_wait(file, &c->readers, wait);
	mutex_lock(&c->lock);
	if (tb_used(c))
		mask |= EPOLLIN | EPOLLRDNORM;
	if (tb_room(c))
		mask |= EPOLLOUT | EPOLLWRNORM;
	mutex_unlock(&c->lock);
	return mask;
}

static int tb_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct tb_chan *c = file->private_data;

	if (vma->vm_pgoff || vma->vm_end - vma->vm_start > PAGE_SIZE)
		return -EINVAL;
	return remap_vmalloc_range(vma, c->shared, 0);
}

static int tb_resize(struct tb_chan *c, const struct tb_config *cfg)
{
	u8 *ring;

	if (cfg->size < 16 || cfg->size > 65536)
		return -EINVAL;
	if (strnlen(cfg->name, TB_NAME) == TB_NAME)
		return -EINVAL;
	ring = kzalloc(cfg->size, GFP_KERNEL);
	if (!ring)
		return -ENOMEM;
	kfree(c->ring);
	c->ring = ring;
	c->size = cfg->size;
	c->head = c->tail = 0;
	strscpy(c->name, cfg->name, TB_NAME);
	return 0;
}

static int tb_add_rule(struct tb_chan *c, struct tb_rule_arg *arg)
{
	struct tb_rule *r;
	int id;

	if (!arg->match_len || arg->match_len > TB_MAX_RULE || arg->action >= TB_ACTIONS)
		return -EINVAL;
	r = kzalloc(struct_size(r, match, arg->match_len), GFP_KERNEL);
	if (!r)
		return -ENOMEM;
	if (copy_from_user(r->match, u64_to_user_ptr(arg->match), arg->match_len)) {
		kfree(r);
		return -EFAULT;
	}
	r->len = arg->match_len;
	r->action = arg->action;
	id = idr_alloc(&c->ids, r, 1, 256, GFP_KERNEL);
	if (id < 0) {
		kfree(r);
		return id;
	}
	r->id = arg->id = id;
	list_add_tail(&r->list, &c->rules);
	return 0;
}

static int tb_del_rule(struct tb_chan *c, u32 id)
{
	struct tb_rule *r = idr_find(&c->ids, id);

	if (!r)
		return -ENOENT;
	idr_remove(&c->ids, id);
	list_del(&r->list);
	kfree(r);
	return 0;
}

static long tb_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct tb_chan *c = file->private_data;
	void __user *up = (void __user *)arg;
	struct tb_config cfg;
	struct tb_rule_arg rule;
	struct tb_stats stats;
	u32 word;
	long ret = 0;

	mutex_lock(&c->lock);
	switch (cmd) {
	case TB_GET_CONFIG:
		memset(&cfg, 0, sizeof(cfg));
		cfg.size = c->size;
		strscpy(cfg.name, c->name, TB_NAME);
		ret = copy_to_user(up, &cfg, sizeof(cfg)) ? -EFAULT : 0;
		break;
	case TB_SET_CONFIG:
		ret = copy_from_user(&cfg, up, sizeof(cfg)) ? -EFAULT : tb_resize(c, &cfg);
		break;
	case TB_ADD_RULE:
		if (copy_from_user(&rule, up, sizeof(rule))) {
			ret = -EFAULT;
			break;
		}
		ret = tb_add_rule(c, &rule);
		if (!ret && copy_to_user(up, &rule, sizeof(rule)))
			ret = tb_del_rule(c, rule.id) ?: -EFAULT;
		break;
	case TB_DEL_RULE:
		ret = get_user(word, (u32 __user *)up) ? -EFAULT : tb_del_rule(c, word);
		break;
	case TB_STATS:
		spin_lock_bh(&c->stat_lock);
		stats = c->stats;
		spin_unlock_bh(&c->stat_lock);
		ret = copy_to_user(up, &stats, sizeof(stats)) ? -EFAULT : 0;
		break;
	case TB_FLUSH:
		c->head = c->tail = 0;
		queue_work(tb_wq, &c->report);
		break;
	case TB_CRC:
		word = crc32_le(~0, c->ring, c->size);
		ret = put_user(word, (u32 __user *)up);
		break;
	default:
		ret = -ENOTTY;
	}
	mutex_unlock(&c->lock);
	return ret;
}

static const struct file_operations tb_fops = {
	.owner = THIS_MODULE, .open = tb_open, .release = tb_release, .read = tb_read, .write = tb_write,
	.poll = tb_poll, .mmap = tb_mmap, .unlocked_ioctl = tb_ioctl, .fasync = tb_fasync, .llseek = no_llseek,
};

static void tb_report(struct work_struct *work)
{
	struct tb_chan *c = container_of(work, struct tb_chan, report);

	mutex_lock(&c->lock);
	tb_note("%s: %llu in, %llu out", c->name, c->stats.in, c->stats.out);
	mutex_unlock(&c->lock);
}

static void tb_watchdog(struct timer_list *t)
{
	struct tb_chan *c = container_of(t, struct tb_chan, watchdog);

	spin_lock(&c->stat_lock);
	c->idle_ticks++;
	spin_unlock(&c->stat_lock);
	mod_timer(&c->watchdog, jiffies + HZ);
}

static int tb_flush_thread(void *unused)
{
	while (!kthread_should_stop()) {
		int i;

		for (i = 0; i < TB_CHANNELS; i++) {
			mutex_lock(&chans[i]->lock);
			snprintf(chans[i]->shared, 64, "%u of %u", tb_used(chans[i]), chans[i]->size);
			mutex_unlock(&chans[i]->lock);
		}
		schedule_timeout_interruptible(HZ);
	}
	return 0;
}

static int tb_proc_show(struct seq_file *m, void *v)
{
	struct tb_note *n;
	int i;

	for (i = 0; i < TB_CHANNELS; i++) {
		struct tb_rule *r;

		mutex_lock(&chans[i]->lock);
		seq_printf(m, "%d %s %u/%u\n", i, chans[i]->name, tb_used(chans[i]), chans[i]->size);
		list_for_each_entry(r, &chans[i]->rules, list)
			seq_printf(m, "  rule %d %*ph action %u hits %llu\n", r->id, (int)r->len, r->match, r->action, r->hits);
		mutex_unlock(&chans[i]->lock);
	}
	spin_lock_bh(&tb_note_lock);
	list_for_each_entry(n, &tb_notes, list)
		seq_printf(m, "%lu %s\n", n->when, n->text);
	spin_unlock_bh(&tb_note_lock);
	return 0;
}

static int tb_stats_show(struct seq_file *m, void *v)
{
	struct tb_chan *c = m->private;

	spin_lock_bh(&c->stat_lock);
	seq_printf(m, "in %llu out %llu dropped %llu matched %llu idle %u\n", c->stats.in, c->stats.out,
		   c->stats.dropped, c->stats.matched, c->idle_ticks);
	spin_unlock_bh(&c->stat_lock);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(tb_stats);

static ssize_t label_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct tb_chan *c = dev_get_drvdata(dev);
	ssize_t n;

	mutex_lock(&c->lock);
	n = sysfs_emit(buf, "%s\n", c->name);
	mutex_unlock(&c->lock);
	return n;
}

static ssize_t label_store(struct device *dev, struct device_attribute *attr, const char *buf, size_t count)
{
	struct tb_chan *c = dev_get_drvdata(dev);
	size_t len = count && buf[count - 1] == '\n' ? count - 1 : count;

	if (!len || len >= TB_NAME)
		return -EINVAL;
	mutex_lock(&c->lock);
	memcpy(c->name, buf, len);
	c->name[len] = '\0';
	mutex_unlock(&c->lock);
	return count;
}
static DEVICE_ATTR_RW(label);
static struct attribute *tb_attrs[] = { &dev_attr_label.attr, NULL };
ATTRIBUTE_GROUPS(tb);

static void tb_chan_free(struct tb_chan *c)
{
	struct tb_rule *r, *next;

	list_for_each_entry_safe(r, next, &c->rules, list)
		kfree(r);
	idr_destroy(&c->ids);
	vfree(c->shared);
	kfree(c->ring);
	kfree(c);
}

static struct tb_chan *tb_chan_new(int index)
{
	struct tb_chan *c = kzalloc(sizeof(*c), GFP_KERNEL);
	int err = -ENOMEM;

	if (!c)
		return ERR_PTR(-ENOMEM);
	c->index = index;
	mutex_init(&c->lock);
	spin_lock_init(&c->stat_lock);
	INIT_LIST_HEAD(&c->rules);
	idr_init(&c->ids);
	init_waitqueue_head(&c->readers);
	timer_setup(&c->watchdog, tb_watchdog, 0);
	INIT_WORK(&c->report, tb_report);
	snprintf(c->name, TB_NAME, "chan%d", index);
	c->size = clamp(ring_size, 16u, 65536u);
	c->ring = kzalloc(c->size, GFP_KERNEL);
	c->shared = vmalloc_user(PAGE_SIZE);
	if (!c->ring || !c->shared)
		goto free;
	cdev_init(&c->cdev, &tb_fops);
	c->cdev.owner = THIS_MODULE;
	err = cdev_add(&c->cdev, tb_base + index, 1);
	if (err)
		goto free;
	c->dev = device_create_with_groups(tb_class, NULL, tb_base + index, c, tb_groups, "tapbox%d", index);
	if (IS_ERR(c->dev)) {
		err = PTR_ERR(c->dev);
		cdev_del(&c->cdev);
		goto free;
	}
	c->dir = debugfs_create_dir(c->name, tb_debug);
	debugfs_create_file("stats", 0400, c->dir, c, &tb_stats_fops);
	mod_timer(&c->watchdog, jiffies + HZ);
	return c;
free:
	tb_chan_free(c);
	return ERR_PTR(err);
}

static void tb_chan_del(struct tb_chan *c)
{
	debugfs_remove_recursive(c->dir);
	device_destroy(tb_class, tb_base + c->index);
	cdev_del(&c->cdev);
	del_timer_sync(&c->watchdog);
	cancel_work_sync(&c->report);
	tb_chan_free(c);
}

static void tb_notes_free(void)
{
	struct tb_note *n, *next;

	list_for_each_entry_safe(n, next, &tb_notes, list)
		kmem_cache_free(tb_note_cache, n);
}

static int __init tb_init(void)
{
	int err, i;

	tb_note_cache = KMEM_CACHE(tb_note, 0);
	if (!tb_note_cache)
		return -ENOMEM;
	tb_wq = alloc_workqueue("tapbox", 0, 0);
	err = -ENOMEM;
	if (!tb_wq)
		goto cache;
	err = alloc_chrdev_region(&tb_base, 0, TB_CHANNELS, "tapbox");
	if (err)
		goto wq;
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
	tb_class = class_create("tapbox");
#else
	tb_class = class_create(THIS_MODULE, "tapbox");
#endif
	if (IS_ERR(tb_class)) {
		err = PTR_ERR(tb_class);
		goto region;
	}
	tb_debug = debugfs_create_dir("tapbox", NULL);
	for (i = 0; i < TB_CHANNELS; i++) {
		struct tb_chan *c = tb_chan_new(i);

		if (IS_ERR(c)) {
			err = PTR_ERR(c);
			goto chans;
		}
		chans[i] = c;
	}
	err = -ENOMEM;
	tb_proc = proc_create_single("tapbox", 0444, NULL, tb_proc_show);
	if (!tb_proc)
		goto chans;
	tb_flusher = kthread_run(tb_flush_thread, NULL, "tapbox");
	if (IS_ERR(tb_flusher)) {
		err = PTR_ERR(tb_flusher);
		goto proc;
	}
	return 0;
proc:
	proc_remove(tb_proc);
chans:
	while (i--)
		tb_chan_del(chans[i]);
	debugfs_remove_recursive(tb_debug);
	class_destroy(tb_class);
region:
	unregister_chrdev_region(tb_base, TB_CHANNELS);
wq:
	destroy_workqueue(tb_wq);
	tb_notes_free();
cache:
	kmem_cache_destroy(tb_note_cache);
	return err;
}

static void __exit tb_exit(void)
{
	int i;

	kthread_stop(tb_flusher);
	proc_remove(tb_proc);
	for (i = 0; i < TB_CHANNELS; i++)
		tb_chan_del(chans[i]);
	debugfs_remove_recursive(tb_debug);
	class_destroy(tb_class);
	unregister_chrdev_region(tb_base, TB_CHANNELS);
	destroy_workqueue(tb_wq);
	tb_notes_free();
	kmem_cache_destroy(tb_note_cache);
}

module_init(tb_init);
module_exit(tb_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("channels with ring buffers");
