// SPDX-License-Identifier: GPL-2.0-or-later
/* Places that are reached only by who knows how: each says so in the log. */
#include <crypto/internal/hash.h>
#include <linux/configfs.h>
#include <linux/eventfd.h>
#include <linux/fs.h>
#include <linux/key-type.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/net.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <net/genetlink.h>

static void reached(const char *what)
{
	pr_info("reached %s\n", what);
}

/* -- numbers and texts: /dev/reached ---------------------------------------------------------------------------- */

struct message {
	u32 magic;
	u16 length, kind;
	u8 rest[32];
};

static ssize_t reached_write(struct file *file, const char __user *from, size_t n, loff_t *position)
{
	union {
		struct message message;
		char text[64];
	} input = { };
	int first, second;

	if (n >= sizeof(input) || copy_from_user(&input, from, n))
		return -EINVAL;
	if (n == sizeof(input.message) && input.message.magic == 0xC0DEFACE && input.message.kind == 0x1234)
		reached("number");
	if (sscanf(input.text, "set %d to %d", &first, &second) == 2 && first < 0)
		reached("text");
	return n;
}

#define REACHED_FILE _IOW('R', 1, int)

static long reached_ioctl(struct file *file, unsigned int request, unsigned long argument)
{
	struct eventfd_ctx *event;
	int fd;

	if (request != REACHED_FILE || get_user(fd, (int __user *)argument))
		return -ENOTTY;
	event = eventfd_ctx_fdget(fd);
	if (IS_ERR(event))
		return PTR_ERR(event);
	reached("file");
	eventfd_ctx_put(event);
	return 0;
}

static int opened, closed;

static int reached_open(struct inode *inode, struct file *file)
{
	opened++;
	return 0;
}

static int reached_release(struct inode *inode, struct file *file)
{
	closed = opened > 1;
	opened--;
	return 0;
}

static ssize_t reached_read(struct file *file, char __user *to, size_t n, loff_t *position)
{
	if (closed && opened == 1)
		reached("one of two");
	return 0;
}

static const struct file_operations operations = {
	.owner = THIS_MODULE, .write = reached_write, .unlocked_ioctl = reached_ioctl, .open = reached_open,
	.release = reached_release, .read = reached_read,
};
static struct miscdevice device = { .minor = MISC_DYNAMIC_MINOR, .name = "reached", .fops = &operations };

/* -- a type of keys ----------------------------------------------------------------------------------------------- */

static int key_instantiate(struct key *key, struct key_preparsed_payload *payload)
{
	if (payload->datalen > 100)
		reached("key");
	return payload->datalen ? 0 : -EINVAL;
}

static long key_read(const struct key *key, char *to, size_t n)
{
	reached("reading a key");
	return 0;
}

static struct key_type key = { .name = "reached_key", .instantiate = key_instantiate, .read = key_read };

/* -- a group of configfs ------------------------------------------------------------------------------------------ */

static ssize_t item_level_show(struct config_item *item, char *to)
{
	return sprintf(to, "0\n");
}

static ssize_t item_level_store(struct config_item *item, const char *from, size_t n)
{
	reached("item");
	return n;
}
CONFIGFS_ATTR(item_, level);

static struct configfs_attribute *item_attributes[] = { &item_attr_level, NULL };

static void item_release(struct config_item *item)
{
	kfree(item);
}

static struct configfs_item_operations item_operations = { .release = item_release };
static const struct config_item_type item_type = {
	.ct_item_ops = &item_operations, .ct_attrs = item_attributes, .ct_owner = THIS_MODULE,
};

static struct config_item *make_item(struct config_group *group, const char *name)
{
	struct config_item *item = kzalloc(sizeof(*item), GFP_KERNEL);

	if (!item)
		return ERR_PTR(-ENOMEM);
	config_item_init_type_name(item, name, &item_type);
	return item;
}

static struct configfs_group_operations group_operations = { .make_item = make_item };
static const struct config_item_type group_type = { .ct_group_ops = &group_operations, .ct_owner = THIS_MODULE };
static struct configfs_subsystem subsystem = {
	.su_group = { .cg_item = { .ci_namebuf = "reached", .ci_type = &group_type } },
};

/* -- a file system ------------------------------------------------------------------------------------------------ */

static int fill_super(struct super_block *super, void *options, int silent)
{
	static const struct tree_descr files[] = { { "" } };

	if (options && *(char *)options)
		reached("options");
	return simple_fill_super(super, 0x5245, files);
}

static struct dentry *mount_it(struct file_system_type *type, int flags, const char *name, void *options)
{
	return mount_nodev(type, flags, options, fill_super);
}

static void kill_super(struct super_block *super)
{
	reached("unmounting");
	kill_litter_super(super);
}

static struct file_system_type file_system = {
	.owner = THIS_MODULE, .name = "reachedfs", .mount = mount_it, .kill_sb = kill_super,
};

/* -- an algorithm, and a family of netlink ------------------------------------------------------------------------ */

static int digest_init(struct shash_desc *desc)
{
	return 0;
}

static int digest_update(struct shash_desc *desc, const u8 *data, unsigned int n)
{
	if (n > 60)
		reached("digest");
	return 0;
}

static int digest_final(struct shash_desc *desc, u8 *to)
{
	memset(to, 0, 8);
	return 0;
}

static struct shash_alg digest = {
	.digestsize = 8, .descsize = 8, .init = digest_init, .update = digest_update, .final = digest_final,
	.base = { .cra_name = "reached", .cra_driver_name = "reached-generic", .cra_blocksize = 1, .cra_module = THIS_MODULE },
};

enum { NO_ATTRIBUTE, NAME, LAST = NAME };

static const struct nla_policy policy[LAST + 1] = { [NAME] = { .type = NLA_NUL_STRING, .len = 40 } };

static int take_name(struct sk_buff *skb, struct genl_info *info)
{
	if (info->attrs[NAME] && nla_len(info->attrs[NAME]) > 30)
		reached("attribute");
	return 0;
}

static const struct genl_ops commands[] = { { .cmd = 3, .doit = take_name } };
static struct genl_family family = {
	.name = "REACHED", .version = 1, .maxattr = LAST, .policy = policy, .module = THIS_MODULE, .ops = commands,
	.n_ops = ARRAY_SIZE(commands),
};

static int __init reached_init(void)
{
	int error = misc_register(&device);

	if (error)
		return error;
	error = register_key_type(&key);
	if (error)
		goto no_key;
	config_group_init(&subsystem.su_group);
	mutex_init(&subsystem.su_mutex);
	error = configfs_register_subsystem(&subsystem);
	if (error)
		goto no_subsystem;
	error = register_filesystem(&file_system);
	if (error)
		goto no_file_system;
	error = crypto_register_shash(&digest);
	if (error)
		goto no_digest;
	error = genl_register_family(&family);
	if (!error)
		return 0;
	crypto_unregister_shash(&digest);
no_digest:
	unregister_filesystem(&file_system);
no_file_system:
	configfs_unregister_subsystem(&subsystem);
no_subsystem:
	unregister_key_type(&key);
no_key:
	misc_deregister(&device);
	return error;
}

static void __exit reached_exit(void)
{
	genl_unregister_family(&family);
	crypto_unregister_shash(&digest);
	unregister_filesystem(&file_system);
	configfs_unregister_subsystem(&subsystem);
	unregister_key_type(&key);
	misc_deregister(&device);
}

module_init(reached_init);
module_exit(reached_exit);
MODULE_DESCRIPTION("what an exercise has to know to get in");
MODULE_LICENSE("GPL");
