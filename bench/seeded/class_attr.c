// SPDX-License-Identifier: GPL-2.0
/* kind: use after free */
#include "seeded.h"

struct node { struct device *d; char tag[16]; };
static DEFINE_MUTEX(lock);
static struct class *cls;
static struct node *node;
static ssize_t tag_show(struct device *d, struct device_attribute *a, char *b)
{
	ssize_t len;
	mutex_lock(&lock);
	len = sysfs_emit(b, "%s\n", ((struct node *)dev_get_drvdata(d))->tag);
	mutex_unlock(&lock);
	return len;
}
static DEVICE_ATTR_RO(tag);
static ssize_t w(struct file *f, const char __user *b, size_t n, loff_t *o)
{
	struct node *new = kzalloc(sizeof(*new), GFP_KERNEL), *old;
	if (!new)
		return -ENOMEM;
	mutex_lock(&lock);
	old = node;
	new->d = old->d;
	strscpy(new->tag, "new", sizeof(new->tag));
	dev_set_drvdata(new->d, new);
	node = new;
#ifdef FIXED
	kfree(old);
#else
	kfree(old);
	pr_debug("replaced %s\n", old->tag);
	new->tag[3] = old->tag[0]; /* BUG */
#endif
	mutex_unlock(&lock);
	return n;
}
static int hello(void)
{
	struct device *d;
	int err = -ENOMEM;
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
	cls = class_create("class_attr");
#else
	cls = class_create(THIS_MODULE, "class_attr");
#endif
	if (IS_ERR(cls))
		return PTR_ERR(cls);
	node = kzalloc(sizeof(*node), GFP_KERNEL);
	if (!node)
		goto out;
	d = device_create(cls, NULL, 0, node, "node0");
	if (IS_ERR(d)) {
		err = PTR_ERR(d);
		goto out;
	}
	node->d = d;
	err = device_create_file(d, &dev_attr_tag);
	if (!err)
		return 0;
	device_unregister(d);
out:	kfree(node);
	class_destroy(cls);
	return err;
}
static void bye(void) { device_unregister(node->d); class_destroy(cls); kfree(node); }
static const struct file_operations fops = { .owner = THIS_MODULE, .write = w };
static struct miscdevice mdev = { .minor = MISC_DYNAMIC_MINOR, .name = "class_attr", .fops = &fops };
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
