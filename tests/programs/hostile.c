/* What a program may not do, each in a child of its own; on any PC the children end as they do in a box. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <signal.h>
#include <setjmp.h>
#include <string.h>
#include <sys/io.h>
#include <sys/wait.h>
#include <unistd.h>
#include <fcntl.h>
static void try(const char *name, void (*f)(void)) {
    fflush(stdout);
    pid_t p = fork();
    if (!p) { f(); fflush(stdout); _exit(0); }
    int s; waitpid(p, &s, 0);
    printf("%s: %s %d\n", name, WIFSIGNALED(s) ? "signal" : "exit", WIFSIGNALED(s) ? WTERMSIG(s) : WEXITSTATUS(s));
}
static void hlt(void) { __asm__ volatile("hlt"); }
static void cli(void) { __asm__ volatile("cli"); }
static void wrmsr(void) { __asm__ volatile("wrmsr" :: "c"(0xC0000082), "a"(0), "d"(0)); }
static void rdmsr(void) { unsigned a, d; __asm__ volatile("rdmsr" : "=a"(a), "=d"(d) : "c"(0xC0000082)); }
static void cr3(void) { unsigned long v; __asm__ volatile("mov %%cr3, %0" : "=r"(v)); }
static void in(void) { unsigned char v; __asm__ volatile("inb $0x71, %0" : "=a"(v)); }
static void out(void) { __asm__ volatile("outb %b0, %w1" :: "a"(0xFE), "d"(0x64)); }
static void int14(void) { __asm__ volatile("int $14"); }
static void int13(void) { __asm__ volatile("int $13"); }
static void int8(void) { __asm__ volatile("int $8"); }
static void int32(void) { __asm__ volatile("int $0x30"); }
static void intf0(void) { __asm__ volatile("int $0xf0"); }
static void int3(void) { __asm__ volatile("int3"); }
static void undefined(void) { __asm__ volatile("ud2"); }
static void int80(void) { long r; __asm__ volatile("int $0x80" : "=a"(r) : "a"(20)); printf("int80 getpid ok %d\n", r == getpid()); }
static void div0(void) { __asm__ volatile("xor %%ecx, %%ecx; mov $1, %%eax; cltd; idiv %%ecx" ::: "eax", "ecx", "edx"); }
static void noncanon(void) { *(volatile char *)0x8000000000000000ul = 1; }
static void kernel(void) { *(volatile char *)0xffffffff81000000ul = 1; }
static void kernelread(void) { printf("%d", *(volatile char *)0xffffffff81000000ul); }
static void jump(void) { ((void(*)(void))0xffffffff81000000ul)(); }
static void nx(void) { static char code[] = {0xc3}; ((void(*)(void))code)(); }
static void iopl3(void) { printf("iopl %d\n", iopl(3)); unsigned char v; __asm__ volatile("inb $0x71, %0" : "=a"(v)); printf("in ok\n"); __asm__ volatile("cli"); }
static void ioperm_(void) { int r = ioperm(0x71, 1, 1); printf("ioperm %d port %d\n", r, inb(0x71) >= 0); fflush(stdout); inb(0x60); }
static void lgdt(void) { char b[10] = {0}; __asm__ volatile("lgdt %0" :: "m"(b)); }
static void sti(void) { __asm__ volatile("sti"); }
static void swapgs(void) { __asm__ volatile("swapgs"); }
static void sysret(void) { __asm__ volatile("sysretq"); }
static void iret(void) { __asm__ volatile("iretq"); }
static void invlpg(void) { __asm__ volatile("invlpg (%0)" :: "r"(0)); }
static void bell(void) { unsigned a = 0x6b6f626f, b, c, d; __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "=c"(c), "=d"(d)); printf("hypercall %x %x\n", a, b); }
static void tf(void) { __asm__ volatile("pushfq; orq $0x100, (%rsp); popfq; nop; nop"); }
static void ac(void) { __asm__ volatile("pushfq; orq $0x40000, (%rsp); popfq"); volatile char b[16]; *(volatile int *)(b + 1) = 1; }
static void nt(void) { __asm__ volatile("pushfq; orq $0x4000, (%rsp); popfq"); getpid(); }
static void df(void) { __asm__ volatile("std"); getpid(); }
static void lock_(void) { __asm__ volatile(".byte 0xf0, 0x90"); }
static void mem(void) { int fd = open("/dev/mem", O_RDWR); char b[16]; printf("mem %d", fd >= 0); if (fd >= 0) { lseek(fd, 0x1000000, 0); printf(" read %zd", read(fd, b, 16)); } puts(""); }
static void port(void) { int fd = open("/dev/port", O_RDWR); printf("port %d\n", fd >= 0); }
int main(void) {
#define T(x) try(#x, x)
    T(hlt); T(cli); T(sti); T(wrmsr); T(rdmsr); T(cr3); T(in); T(out); T(int14); T(int13); T(int8); T(int32); T(intf0); T(int3); T(undefined); T(int80); T(div0); T(noncanon); T(kernel); T(kernelread); T(jump); T(nx);
    T(iopl3); try("ioperm", ioperm_); T(lgdt); T(swapgs); T(sysret); T(iret); T(invlpg); T(bell); T(tf); T(ac); T(nt); T(df); T(lock_); T(mem); T(port);
    puts("end"); return 0; }
