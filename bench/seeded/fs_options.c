// SPDX-License-Identifier: GPL-2.0
/* kind: leak */
#include "seeded.h"
#include <linux/fs_context.h>
#include <linux/fs_parser.h>

struct opts { umode_t mode; char label[32]; };
static const struct fs_parameter_spec spec[] = { fsparam_u32oct("mode", 1), fsparam_string("label", 2), {} };
static int parse(struct fs_context *fc, struct fs_parameter *p)
{
	struct fs_parse_result r;
	struct opts *o = fc->fs_private;
	int opt = fs_parse(fc, spec, p, &r);
	if (opt < 0)
		return opt;
	if (opt == 1)
		o->mode = r.uint_32 & 0777;
	else
		strscpy(o->label, p->string, sizeof(o->label));
	return 0;
}
static int fill(struct super_block *sb, struct fs_context *fc)
{
	static const struct tree_descr files[] = { { "" } };
	return simple_fill_super(sb, 0x5eeded, files);
}
static int tree(struct fs_context *fc) { return get_tree_nodev(fc, fill); }
static void release(struct fs_context *fc)
{
#ifdef FIXED
	kfree(fc->fs_private);
#endif
}
static const struct fs_context_operations cops = { .parse_param = parse, .get_tree = tree, .free = release };
static int ctx(struct fs_context *fc)
{
	fc->fs_private = kzalloc(sizeof(struct opts), GFP_KERNEL); /* BUG */
	if (!fc->fs_private)
		return -ENOMEM;
	fc->ops = &cops;
	return 0;
}
static struct file_system_type fst = {
	.owner = THIS_MODULE, .name = "fs_options", .init_fs_context = ctx, .parameters = spec, .kill_sb = kill_litter_super,
};
static int __init m_init(void) { return register_filesystem(&fst); }
static void __exit m_exit(void) { unregister_filesystem(&fst); }
module_init(m_init);
module_exit(m_exit);
