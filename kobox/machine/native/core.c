/*
 * The machine's native core: one x86-64 PC around a Unicorn CPU.
 *
 * Unicorn executes instructions and walks page tables. Everything that surrounds a CPU is here:
 * delivery of exceptions and interrupts, entry of SYSCALL, the clock, two 8259 PICs, a PIT, a local
 * APIC, two 16550A UARTs, a CMOS clock, CPUID, snapshots of it all, and the checkpoint of RAM.
 *
 *       Python (kobox.machine.native, by ctypes)
 *         |  kobox_run(): until a doorbell, idleness, a deadline, the end of a budget, or death
 *         v
 *       this file  --- UC_HOOK_INTR, _INSN(_INVALID), _BLOCK, _CODE, MMIO --->  libunicorn
 *
 * Three rules keep the guest whole:
 *   - the CPU is stopped only from inside a hook (Unicorn corrupts the guest otherwise);
 *   - time is virtual: blocks executed, plus what was slept; nothing here asks the host for the time;
 *   - state that Unicorn's API does not reach (CPL, error code, the exception in flight) is edited in
 *     the context blob, whose layout is that of CPUX86State (qemu/target/i386/cpu.h), and is verified
 *     when the machine is made and on every page fault.
 *
 * Sources: Intel SDM volume 3 (exceptions, APIC), 8259A, 8254 and 16550A data sheets,
 * Documentation/arch/x86/boot.rst, arch/x86/kernel/apic/apic.c, drivers/tty/serial/8250.
 */
#define _GNU_SOURCE
#include "core.h"

static void fail(struct machine *m, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(m->error, sizeof m->error, format, args);
    va_end(args);
    m->event = EV_ERROR;
}

EXPORT uint64_t kobox_sum(const uint8_t *data, uint64_t size);

/* ---- the context blob --------------------------------------------------------------------------------------- */
static uint64_t *env64(struct machine *m, size_t at) { return (uint64_t *)(m->env + at); }
static uint32_t *env32(struct machine *m, size_t at) { return (uint32_t *)(m->env + at); }
static struct segment *env_seg(struct machine *m, int n) { return (struct segment *)(m->env + AT_SEGS) + n; }
static void env_load(struct machine *m) { m->uc_.context_save(m->uc, m->context); }
static void env_store(struct machine *m) { m->uc_.context_restore(m->uc, m->context); }

/* Have env64() and its kin reach into the CPU itself, which takes a tenth of the time of a copy there and back. What comes
 * back is the blob, to be put in its place again. */
static uint8_t *at_the_cpu(struct machine *m)
{
    uint8_t *blob = m->env;
    m->env = m->cpu;
    return blob;
}

uint64_t read_reg(struct machine *m, int id)
{
    uint64_t value = 0;
    m->uc_.reg_read(m->uc, id, &value);
    return value;
}

void write_reg(struct machine *m, int id, uint64_t value) { m->uc_.reg_write(m->uc, id, &value); }

/* ---- guest memory ------------------------------------------------------------------------------------------- */
/* The last entry of the page tables for `va`, or NULL: what it maps as a power of two, and whether every level allows writing. */
const uint8_t *page_entry(struct machine *m, uint64_t cr3, uint64_t va, int *shift, bool *writable)
{
    uint64_t table = cr3 & PTE_ADDRESS;
    *writable = true;
    for (*shift = 39; *shift >= 12; *shift -= 9) {
        uint64_t slot = table + (va >> *shift & 511) * 8, entry;
        if (slot + 8 > m->ram_size)
            return NULL;
        memcpy(&entry, m->ram + slot, 8);
        if (!(entry & PTE_P))
            return NULL;
        *writable &= !!(entry & PTE_W);
        if (*shift == 12 || (*shift < 39 && entry & PTE_PS))
            return m->ram + slot;
        table = entry & PTE_ADDRESS;
    }
    return NULL;
}

/* Physical address of `va`, or -1. For WRITE every level must allow it; for WRITTEN the CPU must have done so before. */
uint64_t walk(struct machine *m, uint64_t cr3, uint64_t va, enum access access)
{
    int shift;
    bool writable;
    uint64_t entry;
    const uint8_t *at = page_entry(m, cr3, va, &shift, &writable);
    if (!at || (access != READ && !writable))
        return -1;
    memcpy(&entry, at, 8);
    if (access == WRITTEN && !(entry & PTE_D))
        return -1;
    uint64_t mask = (1ull << shift) - 1;
    return (entry & PTE_ADDRESS & ~mask) | (va & mask);
}

bool copy_virtual(struct machine *m, uint64_t cr3, uint64_t va, void *data, uint64_t n, bool write)
{
    uint8_t *at = data;
    while (n) {
        uint64_t chunk = PAGE - (va & (PAGE - 1));
        if (chunk > n)
            chunk = n;
        uint64_t pa = walk(m, cr3, va, write ? WRITE : READ);
        if (pa == (uint64_t)-1 || pa + chunk > m->ram_size)
            return false;
        if (write)
            memcpy(m->ram + pa, at, chunk);
        else
            memcpy(at, m->ram + pa, chunk);
        at += chunk, va += chunk, n -= chunk;
    }
    return true;
}

/* ---- time ----------------------------------------------------------------------------------------------------- */
static void settle(struct machine *m)
{
    int64_t spent = m->granted - m->fuel;
    m->dev.time += (uint64_t)spent * NS_PER_BLOCK;
    m->blocks += (uint64_t)spent;
    m->granted = m->fuel;
}

static uint64_t now(struct machine *m) { return m->dev.time + (uint64_t)(m->granted - m->fuel) * NS_PER_BLOCK; }

/* Come back to the run loop before the next block: something about interrupts or timers has changed. */
static void reconsider(struct machine *m)
{
    settle(m);
    m->granted = m->fuel = 0;
}

/* ---- 8259 ------------------------------------------------------------------------------------------------------ */
static void pic_line(struct machine *m, int irq, bool level)
{
    struct pic *p = &m->dev.pic[irq >> 3];
    uint8_t bit = 1 << (irq & 7);
    if (level && !(p->lines & bit))
        p->irr |= bit;
    if (!level)
        p->irr &= ~bit;
    p->lines = level ? p->lines | bit : p->lines & ~bit;
    if (level)
        reconsider(m);
}

static void pic_pulse(struct machine *m, int irq) { m->dev.pic[irq >> 3].irr |= 1 << (irq & 7); reconsider(m); }

static int pic_highest(const struct pic *p)
{
    uint8_t waiting = p->irr & ~p->imr;
    for (int i = 0; i < 8; i++) {
        if (p->isr & 1 << i)
            return -1;
        if (waiting & 1 << i)
            return i;
    }
    return -1;
}

static int pic_pending(struct machine *m)
{
    if (pic_highest(&m->dev.pic[1]) >= 0)
        m->dev.pic[0].irr |= 4;
    return pic_highest(&m->dev.pic[0]);
}

static int pic_acknowledge(struct machine *m)
{
    struct pic *first = &m->dev.pic[0], *second = &m->dev.pic[1];
    int n = pic_pending(m);
    if (n < 0)
        return first->base + 7;
    if (!first->auto_eoi)
        first->isr |= 1 << n;
    first->irr &= ~(1 << n);
    if (n != 2)
        return first->base + n;
    n = pic_highest(second);
    if (n < 0)
        return second->base + 7;
    if (!second->auto_eoi)
        second->isr |= 1 << n;
    second->irr &= ~(1 << n);
    return second->base + n;
}

static void pic_write(struct machine *m, int chip, int a0, uint8_t value)
{
    struct pic *p = &m->dev.pic[chip];
    if (a0) {
        if (p->icw == 2) {
            p->base = value & 0xF8;
            p->icw = 3;
        } else if (p->icw == 3) {
            p->icw = 4;
        } else if (p->icw == 4) {
            p->auto_eoi = value >> 1 & 1;
            p->icw = 0;
        } else {
            p->imr = value;
            reconsider(m);
        }
    } else if (value & 0x10) {
        p->icw = 2;
        p->imr = p->isr = p->irr = 0;
    } else if (value & 8) {
        if (value & 2)
            p->read_isr = value & 1;
    } else if (value & 0x20) {
        if (value & 0x40)
            p->isr &= ~(1 << (value & 7));
        else
            p->isr &= p->isr - 1;
        reconsider(m);
    }
}

/* ---- 8254: channel 0 is IRQ 0; channel 2 is there for those who measure with it ---------------------------------- */
static uint64_t pit_period(const struct pit *p)
{
    return (p->reload ? p->reload : 65536ull) * 1000000000ull / PIT_HZ;
}

static uint16_t pit_count(struct machine *m, const struct pit *p)
{
    uint64_t ticks = (now(m) - p->start) * PIT_HZ / 1000000000ull, reload = p->reload ? p->reload : 65536ull;
    if (p->mode == 2 || p->mode == 3)
        return reload - ticks % reload;
    return reload - ticks;
}

static void pit_write(struct machine *m, int channel, uint8_t value)
{
    struct pit *p = &m->dev.pit[channel];
    if (p->write_state == 0) { /* low byte, high byte to follow */
        p->reload = (p->reload & 0xFF00) | value;
        p->write_state = 1;
        return;
    }
    p->reload = (p->reload & 0xFF) | value << 8;
    p->write_state = 0;
    p->start = now(m);
    p->expiry = channel == 0 ? p->start + pit_period(p) : 0;
    reconsider(m);
}

static uint8_t pit_read(struct machine *m, int channel)
{
    struct pit *p = &m->dev.pit[channel];
    uint16_t count = p->latched ? p->latch : pit_count(m, p);
    p->latch_state ^= 1;
    if (p->latch_state)
        return count;
    p->latched = 0;
    return count >> 8;
}

static void pit_control(struct machine *m, uint8_t value)
{
    int channel = value >> 6;
    if (channel == 3)
        return;
    struct pit *p = &m->dev.pit[channel];
    if (!(value & 0x30)) {
        p->latch = pit_count(m, p);
        p->latched = 1;
        p->latch_state = 0;
        return;
    }
    p->mode = value >> 1 & 7;
    if (p->mode > 5)
        p->mode -= 4;
    p->write_state = p->latch_state = 0;
    p->latched = 0;
    p->expiry = 0;
    reconsider(m);
}

/* Channel 2's output: high once a one-shot has run out. */
static bool pit_output2(struct machine *m)
{
    const struct pit *p = &m->dev.pit[2];
    return p->mode == 0 ? now(m) - p->start >= pit_period(p) : (now(m) - p->start) % pit_period(p) * 2 < pit_period(p);
}

/* ---- local APIC ------------------------------------------------------------------------------------------------- */
enum {
    APIC_ID = 0x02, APIC_VERSION = 0x03, APIC_TPR = 0x08, APIC_EOI = 0x0B, APIC_DFR = 0x0E, APIC_SVR = 0x0F,
    APIC_ISR = 0x10, APIC_IRR = 0x20, APIC_ESR = 0x28, APIC_ICR = 0x30, APIC_ICR2 = 0x31, APIC_LVTT = 0x32,
    APIC_LVT0 = 0x35, APIC_LVT1 = 0x36, APIC_LVTERR = 0x37, APIC_TMICT = 0x38, APIC_TMCCT = 0x39, APIC_TDCR = 0x3E,
};

static int bits_highest(const uint32_t *words)
{
    for (int i = 7; i >= 0; i--)
        if (words[i])
            return i * 32 + 31 - __builtin_clz(words[i]);
    return -1;
}

static void lapic_raise(struct machine *m, int vector)
{
    m->dev.lapic.reg[APIC_IRR + (vector >> 5)] |= 1u << (vector & 31);
    reconsider(m);
}

static int lapic_pending(struct machine *m)
{
    const struct lapic *a = &m->dev.lapic;
    if (!(a->reg[APIC_SVR] & 0x100))
        return -1;
    int waiting = bits_highest(a->reg + APIC_IRR), serviced = bits_highest(a->reg + APIC_ISR);
    if (waiting < 0 || waiting >> 4 <= (int)(a->reg[APIC_TPR] >> 4 & 15) || (serviced >= 0 && waiting >> 4 <= serviced >> 4))
        return -1;
    return waiting;
}

static uint64_t lapic_tick_ns(const struct lapic *a)
{
    static const uint8_t divisor[8] = {2, 4, 8, 16, 32, 64, 128, 1};
    uint32_t d = a->reg[APIC_TDCR];
    return divisor[(d & 3) | (d >> 1 & 4)]; /* the bus runs at 1 GHz */
}

static void lapic_arm(struct machine *m, uint64_t start)
{
    struct lapic *a = &m->dev.lapic;
    a->timer_start = start;
    a->timer_expiry = a->reg[APIC_TMICT] ? start + a->reg[APIC_TMICT] * lapic_tick_ns(a) : 0;
    reconsider(m);
}

static uint64_t lapic_read(uc_engine *uc, uint64_t offset, unsigned size, void *user)
{
    (void)uc, (void)size;
    struct machine *m = user;
    struct lapic *a = &m->dev.lapic;
    unsigned n = offset >> 4;
    if (n >= 64)
        return 0;
    if (n == APIC_TMCCT) {
        uint64_t t = now(m);
        return a->timer_expiry > t ? (a->timer_expiry - t) / lapic_tick_ns(a) : 0;
    }
    return a->reg[n];
}

static void lapic_write(uc_engine *uc, uint64_t offset, unsigned size, uint64_t value, void *user)
{
    (void)uc, (void)size;
    struct machine *m = user;
    struct lapic *a = &m->dev.lapic;
    unsigned n = offset >> 4;
    int vector;
    switch (n) {
    case APIC_EOI:
        vector = bits_highest(a->reg + APIC_ISR);
        if (vector >= 0)
            a->reg[APIC_ISR + (vector >> 5)] &= ~(1u << (vector & 31));
        reconsider(m);
        break;
    case APIC_ESR:
        a->reg[n] = 0;
        break;
    case APIC_ICR:
        a->reg[n] = value & ~(1u << 12);
        if ((value >> 18 & 3) == 1 || (value >> 18 & 3) == 2 || ((value >> 18 & 3) == 0 && a->reg[APIC_ICR2] >> 24 == 0))
            if ((value >> 8 & 7) == 0) /* fixed delivery, and we are the only CPU there is */
                lapic_raise(m, value & 255);
        break;
    case APIC_TMICT:
        a->reg[n] = value;
        lapic_arm(m, now(m));
        break;
    case APIC_ID:
    case APIC_TPR:
    case APIC_SVR:
    case APIC_LVTT:
    case APIC_LVT0:
    case APIC_LVT1:
    case APIC_LVTERR:
    case APIC_TDCR:
    case APIC_ICR2:
    case 0x0D: /* logical destination */
    case APIC_DFR:
    case 0x33: /* thermal */
    case 0x34: /* performance counters */
        a->reg[n] = value;
        reconsider(m);
        break;
    default:
        break;
    }
}

/* Physical addresses where nothing answers: reads give ones, writes are lost, as on a PC's bus. */
static uint64_t void_read(uc_engine *uc, uint64_t offset, unsigned size, void *user)
{
    (void)uc, (void)offset, (void)user;
    return size >= 8 ? ~0ull : (1ull << size * 8) - 1;
}

static void void_write(uc_engine *uc, uint64_t offset, unsigned size, uint64_t value, void *user)
{
    (void)uc, (void)offset, (void)size, (void)value, (void)user;
}

/* Registers of devices that Python models. */
static uint64_t device_read(uc_engine *uc, uint64_t offset, unsigned size, void *user)
{
    (void)uc;
    struct machine *m = user;
    return m->on_device ? m->on_device(offset, size, 0, 0) : ~0ull;
}

static void device_write(uc_engine *uc, uint64_t offset, unsigned size, uint64_t value, void *user)
{
    (void)uc;
    struct machine *m = user;
    if (m->on_device)
        m->on_device(offset, size, value, 1);
}

/* ---- 16550A ------------------------------------------------------------------------------------------------------- */
static const int uart_irq[2] = {4, 3};

static void uart_update(struct machine *m, int n)
{
    struct uart *u = &m->dev.uart[n];
    bool wanted = ((u->ier & 1) && u->rx_count) || ((u->ier & 2) && u->thre_pending);
    pic_line(m, uart_irq[n], wanted && (u->mcr & 8) && !(u->mcr & 0x10));
}

static uint8_t uart_read(struct machine *m, int n, int reg)
{
    struct uart *u = &m->dev.uart[n];
    uint8_t value = 0;
    switch (reg) {
    case 0:
        if (u->lcr & 0x80)
            return u->dll;
        if (u->rx_count) {
            value = u->rx[u->rx_head];
            u->rx_head = (u->rx_head + 1) % sizeof u->rx;
            u->rx_count--;
        }
        uart_update(m, n);
        return value;
    case 1:
        return u->lcr & 0x80 ? u->dlm : u->ier;
    case 2:
        value = u->fcr & 1 ? 0xC0 : 0;
        if ((u->ier & 1) && u->rx_count)
            return value | 4;
        if ((u->ier & 2) && u->thre_pending) {
            u->thre_pending = 0;
            uart_update(m, n);
            return value | 2;
        }
        return value | 1;
    case 3:
        return u->lcr;
    case 4:
        return u->mcr;
    case 5:
        return 0x60 | (u->rx_count ? 1 : 0);
    case 6:
        if (u->mcr & 0x10)
            return (u->mcr & 3) << 4 | (u->mcr & 0xC) << 4;
        return 0xB0;
    default:
        return u->scr;
    }
}

static void uart_write(struct machine *m, int n, int reg, uint8_t value)
{
    struct uart *u = &m->dev.uart[n];
    switch (reg) {
    case 0:
        if (u->lcr & 0x80) {
            u->dll = value;
            return;
        }
        if (n == 0 && !(u->mcr & 0x10))
            m->console[m->console_written++ % CONSOLE_SIZE] = value;
        u->thre_pending = 1;
        uart_update(m, n);
        return;
    case 1:
        if (u->lcr & 0x80) {
            u->dlm = value;
            return;
        }
        if (value & 2 && !(u->ier & 2))
            u->thre_pending = 1;
        u->ier = value & 15;
        uart_update(m, n);
        return;
    case 2:
        u->fcr = value;
        if (value & 2)
            u->rx_count = 0;
        return;
    case 3:
        u->lcr = value;
        return;
    case 4:
        u->mcr = value & 0x1F;
        uart_update(m, n);
        return;
    case 7:
        u->scr = value;
        return;
    default:
        return;
    }
}

/* ---- CMOS clock: BCD, 24 hours ------------------------------------------------------------------------------------- */
static uint8_t bcd(unsigned n) { return n / 10 << 4 | n % 10; }

static uint8_t cmos_read(struct machine *m)
{
    uint64_t seconds = m->dev.epoch + now(m) / 1000000000ull, days = seconds / 86400;
    /* civil date from days since 1970 (Gregorian calendar, years counted from March) */
    uint64_t z = days + 719468, era = z / 146097, doe = z - era * 146097;
    uint64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365, doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    uint64_t mp = (5 * doy + 2) / 153, day = doy - (153 * mp + 2) / 5 + 1, month = mp < 10 ? mp + 3 : mp - 9;
    uint64_t year = yoe + era * 400 + (month <= 2);
    switch (m->dev.cmos_index) {
    case 0: return bcd(seconds % 60);
    case 2: return bcd(seconds / 60 % 60);
    case 4: return bcd(seconds / 3600 % 24);
    case 6: return (days + 4) % 7 + 1;
    case 7: return bcd(day);
    case 8: return bcd(month);
    case 9: return bcd(year % 100);
    case 0x0A: return 0x26;
    case 0x0B: return 0x02;
    case 0x0D: return 0x80;
    case 0x32: return bcd(year / 100);
    default: return 0;
    }
}

/* ---- ports ------------------------------------------------------------------------------------------------------------ */
/*
 * Whether a program uses a port that it has no right to (SDM volume 1, 19.5: IOPL, then the bitmap in the TSS). Unicorn does not
 * ask. The instruction is in the middle of a translation, so the fault is delivered when that has ended, with the CPU put
 * back to what it was.
 */
static bool port_denied(struct machine *m, uint32_t port, int size)
{
    if ((read_reg(m, UC_X86_REG_CS) & 3) == 0 || (read_reg(m, UC_X86_REG_EFLAGS) >> 12 & 3) == 3)
        return false;
    env_load(m);
    uint64_t cr3 = *env64(m, AT_CR + 24), tss = *env64(m, AT_TR + 8);
    uint32_t limit = *(uint32_t *)(m->env + AT_TR + 16);
    uint16_t at = 0, bits = 0xFFFF;
    if (limit >= 0x67 && copy_virtual(m, cr3, tss + 0x66, &at, 2, false) && at + port / 8 + 1 <= limit)
        copy_virtual(m, cr3, tss + at + port / 8, &bits, 2, false);
    if (!(bits >> (port & 7) & ((1u << size) - 1)))
        return false;
    if (!m->denied) {
        memcpy(m->offender, m->env, m->env_size);
        m->denied = true;
    }
    reconsider(m);
    m->uc_.emu_stop(m->uc);
    return true;
}

static uint32_t port_in(uc_engine *uc, uint32_t port, int size, void *user)
{
    (void)uc;
    struct machine *m = user;
    struct pic *p;
    if (port_denied(m, port, size))
        return 0;
    if ((port & ~7u) == 0x3F8)
        return uart_read(m, 0, port & 7);
    if ((port & ~7u) == 0x2F8)
        return uart_read(m, 1, port & 7);
    switch (port) {
    case 0x20:
    case 0xA0:
        p = &m->dev.pic[port == 0xA0];
        return p->read_isr ? p->isr : p->irr;
    case 0x21:
    case 0xA1:
        return m->dev.pic[port == 0xA1].imr;
    case 0x40:
    case 0x41:
    case 0x42:
        return pit_read(m, port - 0x40);
    case 0x61:
        return (m->dev.port61 & 0x0F) | (pit_output2(m) ? 0x20 : 0) | (now(m) / 15085 & 1) << 4;
    case 0x71:
        return cmos_read(m);
    case 0x92:
        return m->dev.port92;
    case 0x600: /* ACPI PM1 status, enable and control: nothing ever happens, and ACPI mode is on */
        return size == 4 ? (uint32_t)m->dev.pm1_enable << 16 : 0;
    case 0x602:
        return m->dev.pm1_enable;
    case 0x604:
        return 1;
    case 0x4D0: /* all interrupts are edge triggered */
    case 0x4D1:
        return 0;
    default:
        return size >= 4 ? ~0u : (1u << size * 8) - 1;
    }
}

static void port_out(uc_engine *uc, uint32_t port, int size, uint32_t value, void *user)
{
    struct machine *m = user;
    if (port_denied(m, port, size))
        return;
    if ((port & ~7u) == 0x3F8)
        uart_write(m, 0, port & 7, value);
    else if ((port & ~7u) == 0x2F8)
        uart_write(m, 1, port & 7, value);
    else if (port == 0x20 || port == 0x21)
        pic_write(m, 0, port & 1, value);
    else if (port == 0xA0 || port == 0xA1)
        pic_write(m, 1, port & 1, value);
    else if (port >= 0x40 && port <= 0x42)
        pit_write(m, port - 0x40, value);
    else if (port == 0x43)
        pit_control(m, value);
    else if (port == 0x61)
        m->dev.port61 = value;
    else if (port == 0x602)
        m->dev.pm1_enable = value;
    else if (port == 0x70)
        m->dev.cmos_index = value & 0x7F;
    else if (port == 0x92 || (port == 0x64 && (value & 0xFF) == 0xFE) || (port == 0xCF9 && value & 4)) {
        m->dev.port92 = value & ~1u;
        if (port != 0x92 || value & 1) {
            m->event = EV_RESET;
            m->uc_.emu_stop(uc);
        }
    }
}

/*
 * Whether the CPUID at `at` is a doorbell: that of kobox's own processes, or of its program run by the kernel as /sbin/modprobe.
 * Any other program that executes the same instruction finds an unknown leaf of CPUID.
 */
static bool is_doorbell(struct machine *m, uint64_t at)
{
    if (!m->user_doorbell)
        return !(at >> 47);
    uint64_t cr3 = read_reg(m, UC_X86_REG_CR3) & PTE_ADDRESS;
    if (at != m->user_doorbell || cr3 == m->home)
        return at == m->user_doorbell;
    uint8_t code[sizeof m->agent];
    uint64_t start = at - sizeof code / 2;
    return copy_virtual(m, cr3, start, code, sizeof code, false) && !memcmp(code, m->agent, sizeof code) &&
           walk(m, cr3, at, WRITE) == (uint64_t)-1;
}

/* ---- CPUID: a 64-bit PC with SSE4.2, AES and a 1 GHz invariant TSC, under a hypervisor that says nothing more --------- */
static int on_cpuid(uc_engine *uc, void *user)
{
    struct machine *m = user;
    uint32_t leaf = read_reg(m, UC_X86_REG_EAX), out[4] = {0, 0, 0, 0};
    switch (leaf) {
    case DOORBELL: {
        if (!is_doorbell(m, read_reg(m, UC_X86_REG_RIP)))
            break;
        m->event = EV_DOORBELL;
        m->uc_.emu_stop(uc);
        return 1;
    }
    case 0:
        out[0] = 0x16, out[1] = 0x756E6547, out[3] = 0x49656E69, out[2] = 0x6C65746E; /* GenuineIntel */
        break;
    case 1:
        /* SSE3 PCLMULQDQ SSSE3 CX16 SSE4.1 SSE4.2 POPCNT AES HYPERVISOR */
        out[0] = 0x000206C1, out[1] = 0x00010800, out[2] = 0x82982203, out[3] = 0x078BFBFF;
        break;
    case 4:
        break;
    case 6:
        out[0] = 4; /* the APIC timer never stops */
        break;
    case 7:
        break;
    case 0x15:
        out[0] = out[1] = 1, out[2] = TSC_HZ; /* crystal, and the ratio of the TSC to it */
        break;
    case 0x16:
        out[0] = out[1] = TSC_HZ / 1000000, out[2] = 100;
        break;
    case 0x40000000:
        out[0] = 0x40000000, out[1] = 0x6F626F6B, out[2] = 0x6F626F6B, out[3] = 0x20202078;
        break;
    case 0x80000000:
        out[0] = 0x80000008;
        break;
    case 0x80000001:
        out[2] = 1, out[3] = 0x20100800; /* LAHF; SYSCALL, NX, long mode */
        break;
    case 0x80000002:
        memcpy(out, "kobox emulated P", 16);
        break;
    case 0x80000003:
        memcpy(out, "C\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16);
        break;
    case 0x80000007:
        out[3] = 0x100; /* invariant TSC */
        break;
    case 0x80000008:
        out[0] = 0x3028; /* 40 bits physical, 48 bits virtual */
        break;
    default:
        break;
    }
    write_reg(m, UC_X86_REG_RAX, out[0]);
    write_reg(m, UC_X86_REG_RBX, out[1]);
    write_reg(m, UC_X86_REG_RCX, out[2]);
    write_reg(m, UC_X86_REG_RDX, out[3]);
    return 1;
}

/* Reading the TSC takes a few nanoseconds, never the same: code that gathers entropy from that finds some, and all of it
 * is the same in every run. */
static int on_rdtsc(uc_engine *uc, void *user)
{
    (void)uc;
    struct machine *m = user;
    m->dev.jitter = m->dev.jitter * 6364136223846793005ull + 1442695040888963407ull;
    m->dev.time += m->dev.jitter >> 58;
    uint64_t t = now(m);
    write_reg(m, UC_X86_REG_RAX, (uint32_t)t);
    write_reg(m, UC_X86_REG_RDX, t >> 32);
    return 1;
}

static int on_rdtscp(uc_engine *uc, void *user)
{
    struct machine *m = user;
    on_rdtsc(uc, user);
    write_reg(m, UC_X86_REG_RCX, 0);
    return 1;
}

/* ---- entering the kernel ---------------------------------------------------------------------------------------------- */
static void enter_ring0(struct machine *m, uint16_t cs, uint16_t ss, uint32_t ss_flags)
{
    uint32_t *hflags = env32(m, AT_HFLAGS);
    *hflags = (*hflags & ~(uint32_t)(HF_CPL | HF_ADDSEG)) | HF_CS32 | HF_SS32 | HF_CS64;
    *env_seg(m, SEG_CS) = (struct segment){.selector = cs, .limit = ~0u, .flags = CODE64_FLAGS};
    *env_seg(m, SEG_SS) = (struct segment){.selector = ss, .limit = ss_flags ? ~0u : 0, .flags = ss_flags};
}

/* Push one frame for `vector` and point the CPU at its gate. The context blob is loaded; false: it can't be pushed. */
static bool push_frame(struct machine *m, int vector, bool has_error, uint32_t error, uint64_t flags)
{
    uint64_t cr3 = *env64(m, AT_CR + 24), gate[2], idt = *env64(m, AT_IDT + 8);
    if (!copy_virtual(m, cr3, idt + vector * 16, gate, 16, false) || !(gate[0] >> 47 & 1))
        return false;
    uint16_t cs = env_seg(m, SEG_CS)->selector, ss = env_seg(m, SEG_SS)->selector;
    unsigned ist = gate[0] >> 32 & 7, cpl = *env32(m, AT_HFLAGS) & HF_CPL;
    uint64_t rsp = *env64(m, AT_REGS + 8 * R_RSP), top = rsp;
    if (ist || cpl) {
        uint64_t slot = *env64(m, AT_TR + 8) + (ist ? 0x24 + 8 * (ist - 1) : 4);
        if (!copy_virtual(m, cr3, slot, &top, 8, false))
            return false;
    }
    uint64_t frame[6] = {error, *env64(m, AT_EIP), cs, flags, rsp, ss};
    uint64_t size = has_error ? 48 : 40, sp = (top & ~15ull) - size;
    if (!copy_virtual(m, cr3, sp, has_error ? frame : frame + 1, size, true))
        return false;
    if (cpl)
        enter_ring0(m, gate[0] >> 16 & 0xFFFC, 0, 0);
    else
        env_seg(m, SEG_CS)->selector = gate[0] >> 16 & 0xFFFF;
    *env64(m, AT_REGS + 8 * R_RSP) = sp;
    *env64(m, AT_EIP) = (gate[0] & 0xFFFF) | (gate[0] >> 32 & 0xFFFF0000) | gate[1] << 32;
    *env32(m, AT_HFLAGS) &= ~(uint32_t)HF_INHIBIT_IRQ;
    *(int32_t *)(m->env + AT_OLD_EXCEPTION) = -1;
    return true;
}

/* Deliver an exception or interrupt. The frame itself may be what faults: then it is a double fault, as on the real thing. */
static void deliver(struct machine *m, int vector, bool has_error, uint32_t error)
{
    uint64_t flags = read_reg(m, UC_X86_REG_EFLAGS) & 0xFFFFFFFF;
    uint8_t *blob = at_the_cpu(m);
    bool pushed = push_frame(m, vector, has_error, error, flags) || push_frame(m, 8, true, 0, flags);
    m->pc = *env64(m, AT_EIP);
    m->env = blob;
    if (!pushed) {
        m->event = EV_TRIPLE;
        m->uc_.emu_stop(m->uc);
        return;
    }
    write_reg(m, UC_X86_REG_EFLAGS, (flags & ~(uint64_t)(FLAG_TF | FLAG_IF | FLAG_NT | FLAG_RF | FLAG_VM)) | 2);
}

/* Whether a program may not raise this vector by INT: its gate is the kernel's. */
static bool gate_forbidden(struct machine *m, int vector)
{
    uint64_t gate;
    unsigned cpl = *env32(m, AT_HFLAGS) & HF_CPL;
    return copy_virtual(m, *env64(m, AT_CR + 24), *env64(m, AT_IDT + 8) + vector * 16, &gate, 8, false) &&
           (gate >> 45 & 3) < cpl;
}

static void on_exception(uc_engine *uc, uint32_t vector, void *user)
{
    struct machine *m = user;
    uint8_t *blob = at_the_cpu(m);
    bool software = *env32(m, AT_IS_INT);
    uint32_t error = *env32(m, AT_ERROR_CODE);
    bool strange = vector == 14 && !software && *env32(m, AT_OLD_EXCEPTION) != 14;
    if (software && gate_forbidden(m, vector)) {
        uint64_t eip = *env64(m, AT_EIP);
        uint8_t code[2];
        if (copy_virtual(m, *env64(m, AT_CR + 24), eip - 2, code, 2, false) && code[0] == 0xCD && code[1] == vector)
            *env64(m, AT_EIP) = eip - 2; /* a fault is that of the instruction itself */
        software = false;
        error = vector * 8 + 2;
        vector = 13;
    }
    m->env = blob;
    if (strange) {
        fail(m, "this Unicorn keeps its CPU state elsewhere than kobox knows (exception in flight)");
        m->uc_.emu_stop(uc);
        return;
    }
    m->dev.exceptions[vector & 31]++;
    /* A trap gate would leave IF alone; Linux has interrupt gates only (arch/x86/kernel/idt.c). */
    bool has_error = !software && (vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21);
    deliver(m, vector, has_error, has_error ? error : 0);
}

static bool on_invalid(uc_engine *uc, void *user)
{
    (void)uc;
    struct machine *m = user;
    m->dev.exceptions[6]++;
    deliver(m, 6, false, 0);
    return true;
}

/*
 * A module is about to be loaded. Newer kernels write its code through another mapping than the one it runs at, which
 * Unicorn does not notice: what was translated from modules that lay there before would still run. It is all dropped.
 */
static void forget_module_code(struct machine *m)
{
    size_t room = sizeof m->stale / sizeof *m->stale;
    while (m->module_page_count && m->stale_count < room)
        m->stale[m->stale_count++] = m->module_pages[--m->module_page_count];
    reconsider(m);
}

/*
 * A program is about to be run, or code to be mapped. What is written by another way than it is executed by (a file's page by
 * write(2), memory mapped twice) Unicorn does not notice, and an old program's translations would run for a new one at the same
 * addresses. So the pages that code was translated from are looked at: where one has changed, its translations go.
 */
static void forget_changed_code(struct machine *m)
{
    size_t room = sizeof m->stale / sizeof *m->stale, kept = 0;
    bool any = false;
    for (size_t i = 0; i < m->user_page_count; i++) {
        uint64_t page = m->user_pages[i].page;
        if (kobox_sum(m->ram + page * PAGE, PAGE) == m->user_pages[i].sum || m->stale_count == room) {
            m->user_pages[kept++] = m->user_pages[i];
            continue;
        }
        m->stale[m->stale_count++] = page;
        m->user_bits[page / 8] &= ~(1 << (page & 7));
        any = true;
    }
    m->user_page_count = kept;
    if (any)
        reconsider(m);
}

/* execve, execveat, ptrace; mmap and mprotect of what may be executed */
static bool brings_code(uint64_t number, uint64_t third)
{
    return number == 59 || number == 322 || number == 101 || ((number == 9 || number == 10) && third & 4);
}

/* init_module, finit_module; a BPF program of bpf(), seccomp() or setsockopt(), which lies where modules do */
static bool brings_kernel_code(struct machine *m, uint64_t number)
{
    uint64_t option = live_reg(m, R_RDX);
    return number == 175 || number == 313 || (number == 321 && live_reg(m, R_RDI) == 5) || number == 317 ||
           (number == 54 && live_reg(m, R_RSI) == 1 && (option == 26 || option == 50));
}

static void on_syscall(uc_engine *uc, void *user)
{
    (void)uc;
    struct machine *m = user;
    uint64_t number = live_reg(m, R_RAX);
    if (m->module_page_count && brings_kernel_code(m, number))
        forget_module_code(m);
    if (brings_code(number, live_reg(m, R_RDX)))
        forget_changed_code(m);
    uint8_t *blob = at_the_cpu(m);
    bool wide = *env32(m, AT_HFLAGS) & HF_CS64; /* a 32-bit program enters through CSTAR */
    uc_x86_msr msr[3] = {{.rid = 0xC0000081}, {.rid = wide ? 0xC0000082 : 0xC0000083}, {.rid = 0xC0000084}};
    uint64_t flags = read_reg(m, UC_X86_REG_EFLAGS) & 0xFFFFFFFF;
    for (int i = 0; i < 3; i++)
        m->uc_.reg_read(m->uc, UC_X86_REG_MSR, &msr[i]);
    uint16_t cs = msr[0].value >> 32 & 0xFFFC;
    *env64(m, AT_REGS + 8 * R_RCX) = *env64(m, AT_EIP) + 2;
    *env64(m, AT_REGS + 8 * R_R11) = flags & ~(uint64_t)FLAG_RF;
    *env64(m, AT_EIP) = msr[1].value - 2; /* Unicorn adds the length of SYSCALL when we return */
    enter_ring0(m, cs, cs + 8, DATA_FLAGS);
    m->env = blob;
    write_reg(m, UC_X86_REG_EFLAGS, (flags & ~(msr[2].value | FLAG_RF)) | 2);
    m->dev.syscalls++;
}

static void drop_stale(struct machine *m);
static void on_code(uc_engine *uc, uint64_t address, uint32_t size, void *user);

/* ---- the clock of code that does not halt ------------------------------------------------------------------------------- */
/*
 * REP STOS and REP MOVS are a block that jumps to itself, an iteration a visit. When one is seen to repeat, all but its last
 * iterations within the page are done here at once, and are paid for in fuel as if they had been executed: time and
 * results are the same, at a hundredth of the cost. Pages that hold translated code are left to Unicorn, which must see
 * the writes.
 */
static void run_string_instruction(struct machine *m, uint64_t address)
{
    uint8_t code[3];
    uint64_t cr3 = live_cr3(m), page = PAGE - 1;
    if (!copy_virtual(m, cr3, address, code, 3, false))
        return;
    bool wide = code[1] == 0x48;
    uint8_t op = wide ? code[2] : code[1];
    if (code[0] != 0xF3 || (op != 0xAA && op != 0xAB && op != 0xA4 && op != 0xA5)) {
        m->plain_loop = address;
        return;
    }
    uint64_t unit = !(op & 1) ? 1 : wide ? 8 : 4, to = live_reg(m, R_RDI), from = live_reg(m, R_RSI);
    uint64_t count = live_reg(m, R_RCX), room = (PAGE - (to & page)) / unit;
    bool moves = op == 0xA4 || op == 0xA5;
    if (moves && (PAGE - (from & page)) / unit < room)
        room = (PAGE - (from & page)) / unit;
    if (count < 4 || m->fuel < 4 || read_reg(m, UC_X86_REG_EFLAGS) & 0x400)
        return;
    uint64_t n = count - 1 < room ? count - 1 : room;
    n = n < (uint64_t)m->fuel ? n : (uint64_t)m->fuel;
    uint64_t target = walk(m, cr3, to, WRITTEN), source = moves ? walk(m, cr3, from, READ) : 0;
    if (n < 2 || target >= m->ram_size || source >= m->ram_size || m->code_pages[target / PAGE / 8] & 1 << (target / PAGE & 7))
        return;
    uint8_t *out = m->ram + target;
    if (moves && (target >= source + n * unit || source >= target + n * unit)) {
        memcpy(out, m->ram + source, n * unit);
    } else if (moves) {
        for (uint64_t i = 0; i < n * unit; i += unit)
            memmove(out + i, m->ram + source + i, unit);
    } else {
        uint64_t value = live_reg(m, R_RAX), done = unit;
        if (unit == 1) {
            memset(out, (int)(value & 255), n);
        } else {
            memcpy(out, &value, unit);
            for (; done * 2 <= n * unit; done *= 2)
                memcpy(out + done, out, done);
            memcpy(out + done, out, n * unit - done);
        }
    }
    if (moves)
        write_reg(m, UC_X86_REG_RSI, from + n * unit);
    write_reg(m, UC_X86_REG_RDI, to + n * unit);
    write_reg(m, UC_X86_REG_RCX, count - n);
    m->fuel -= n;
}

static void reached(struct machine *m, uint64_t address);

static uint32_t probe_hash(uint64_t address) { return (uint32_t)(address ^ address >> 13); }

static bool maybe_probed(const struct machine *m, uint64_t address)
{
    uint32_t bit = probe_hash(address) % PROBE_BITS;
    return m->probe_bits[bit / 32] >> (bit % 32) & 1;
}

static void on_block(uc_engine *uc, uint64_t address, uint32_t size, void *user)
{
    (void)size;
    struct machine *m = user;
    if (--m->fuel < 0) {
        m->uc_.emu_stop(uc); /* and on going on, this block is met again */
        m->last_block = address;
        return;
    }
    if (address == m->last_block && address != m->plain_loop)
        run_string_instruction(m, address);
    m->last_block = address;
    if (maybe_probed(m, address))
        reached(m, address);
}

static struct probe *find_probe(struct machine *m, uint64_t address);

/* A probe at what was thought to be the start of a block lies inside this one: it gets a hook of its own. */
static void look_for_probes_inside(struct machine *m, uint64_t pc, uint64_t size)
{
    for (uint64_t at = pc + 1; at < pc + size; at++) {
        struct probe *p = maybe_probed(m, at) ? find_probe(m, at) : NULL;
        if (p && !p->hooked && m->uc_.hook_add(m->uc, &p->hook, UC_HOOK_CODE, (void *)on_code, m, at, at) == UC_ERR_OK) {
            bool before = m->in_callback;
            p->hooked = true;
            m->in_callback = true; /* the CPU is at work on a translation: its state must not be swapped now */
            drop_code_at(m, at);
            m->in_callback = before;
        }
    }
}

static void remember_user_code(struct machine *m, uint64_t va, uint64_t page)
{
    if (va >> 47 || m->user_bits[page / 8] & 1 << (page & 7) ||
        m->user_page_count == sizeof m->user_pages / sizeof *m->user_pages)
        return;
    m->user_bits[page / 8] |= 1 << (page & 7);
    m->user_pages[m->user_page_count].page = page;
    m->user_pages[m->user_page_count++].sum = kobox_sum(m->ram + page * PAGE, PAGE);
}

/* Remember which pages of RAM code was translated from: a restore must drop those translations, and only those. */
static void on_new_code(uc_engine *uc, uc_tb *made, uc_tb *before, void *user)
{
    (void)uc, (void)before;
    struct machine *m = user;
    uint64_t cr3 = live_cr3(m);
    look_for_probes_inside(m, made->pc, made->size);
    for (uint64_t va = made->pc & ~(PAGE - 1); va < made->pc + made->size + 1; va += PAGE) {
        uint64_t pa = walk(m, cr3, va, READ);
        if (pa >= m->ram_size)
            continue;
        m->code_pages[pa / PAGE / 8] |= 1 << (pa / PAGE & 7);
        remember_user_code(m, va, pa / PAGE);
        if (va >= MODULES && (!m->module_page_count || m->module_pages[m->module_page_count - 1] != pa / PAGE) &&
            m->module_page_count < sizeof m->module_pages / sizeof *m->module_pages)
            m->module_pages[m->module_page_count++] = pa / PAGE;
    }
}

/* ---- probes -------------------------------------------------------------------------------------------------------------- */
static struct probe *find_probe(struct machine *m, uint64_t address)
{
    for (uint32_t n = probe_hash(address);; n++) {
        struct probe *p = &m->probes[n % PROBE_SLOTS];
        if (p->address == address)
            return p;
        if (!p->address)
            return NULL;
    }
}

static void tell(struct machine *m, uint64_t address)
{
    if (!m->on_probe || m->in_callback)
        return;
    m->in_callback = true;
    m->on_probe(address);
    m->in_callback = false;
}

/*
 * The kernel's __text_poke(function, address, source, length) is about to change code through a mapping of its own. Unicorn
 * looks for translations of the page at the first write only, and takes the page for data from then on: what is
 * translated between two writes would stay. So the page's translations are dropped before each.
 */
static void code_will_change(struct machine *m)
{
    uint64_t at = live_reg(m, R_RSI), size = live_reg(m, R_RCX);
    m->in_callback = true; /* the CPU is inside a translation: it is done before the next block */
    for (uint64_t page = at & ~(PAGE - 1); page < at + size && size <= 1 << 24; page += PAGE)
        drop_code_at(m, page);
    m->in_callback = false;
}

static void arrive(struct machine *m, const struct probe *p)
{
    if (p->patches)
        code_will_change(m);
    watch_arrives(m);
    if (p->native)
        watch_reached(m, p->native);
    if (p->python && (!p->wants || ((p->wants & PROBE_FROM_MODULE) && watch_called_from_module(m)) ||
                      ((p->wants & PROBE_TRACKED_0) && watch_tracks(m, 0)) ||
                      ((p->wants & PROBE_TRACKED_1) && watch_tracks(m, 1)) || ((p->wants & PROBE_INSIDE) && watch_inside(m))))
        tell(m, p->address);
    watch_arrives(m);
}

static void reached(struct machine *m, uint64_t address)
{
    const struct probe *p = find_probe(m, address);
    if (p && !p->hooked)
        arrive(m, p);
}

static void on_code(uc_engine *uc, uint64_t address, uint32_t size, void *user)
{
    (void)uc, (void)size;
    struct machine *m = user;
    const struct probe *p = find_probe(m, address);
    if (p)
        arrive(m, p);
}

/* ---- the run loop --------------------------------------------------------------------------------------------------------- */
static void raise_due(struct machine *m)
{
    struct lapic *a = &m->dev.lapic;
    struct pit *p = &m->dev.pit[0];
    uint64_t t = m->dev.time;
    if (a->timer_expiry && a->timer_expiry <= t) {
        uint64_t due = a->timer_expiry;
        bool periodic = a->reg[APIC_LVTT] >> 17 & 1;
        a->timer_expiry = 0;
        if (!(a->reg[APIC_LVTT] & 0x10000))
            lapic_raise(m, a->reg[APIC_LVTT] & 255);
        if (periodic)
            lapic_arm(m, due);
    }
    if (p->expiry && p->expiry <= t) {
        p->expiry = p->mode == 2 || p->mode == 3 ? p->expiry + pit_period(p) : 0;
        if (p->expiry)
            p->start = p->expiry - pit_period(p);
        pic_pulse(m, 0);
    }
}

static uint64_t next_due(struct machine *m)
{
    uint64_t a = m->dev.lapic.timer_expiry, p = m->dev.pit[0].expiry;
    /* A timer whose interrupt is masked wakes nobody. */
    if (m->dev.lapic.reg[APIC_LVTT] & 0x10000)
        a = 0;
    if (m->dev.pic[0].imr & 1)
        p = 0;
    if (!a || (p && p < a))
        a = p;
    return a ? a : ~0ull;
}

static int interrupt_pending(struct machine *m)
{
    const struct lapic *a = &m->dev.lapic;
    int vector = lapic_pending(m);
    if (vector >= 0)
        return vector;
    /* ExtINT through LINT0, or straight to the CPU while the APIC is off */
    bool wired = !(a->reg[APIC_SVR] & 0x100) || (!(a->reg[APIC_LVT0] & 0x10000) && (a->reg[APIC_LVT0] >> 8 & 7) == 7);
    return wired && pic_pending(m) >= 0 ? 256 : -1;
}

static void take_interrupt(struct machine *m, int vector)
{
    struct lapic *a = &m->dev.lapic;
    if (vector == 256) {
        vector = pic_acknowledge(m);
    } else {
        a->reg[APIC_IRR + (vector >> 5)] &= ~(1u << (vector & 31));
        a->reg[APIC_ISR + (vector >> 5)] |= 1u << (vector & 31);
    }
    m->dev.interrupts++;
    deliver(m, vector, false, 0);
}


/*
 * Run until something happens. `until` is an absolute virtual time in ns, `blocks` how many basic blocks
 * at most. Returns an enum event.
 */
EXPORT int kobox_run(struct machine *m, uint64_t until, int64_t blocks, unsigned flags)
{
    uint64_t end = m->blocks + (uint64_t)blocks;
    bool halted = false;
    m->event = EV_NONE;
    m->error[0] = 0;
    for (;;) {
        raise_due(m);
        drop_stale(m);
        m->pc = live64(m, AT_EIP);
        bool open = read_reg(m, UC_X86_REG_EFLAGS) & FLAG_IF && !(live64(m, AT_HFLAGS) & HF_INHIBIT_IRQ);
        int vector = interrupt_pending(m);
        if (vector >= 0 && open) {
            take_interrupt(m, vector);
            halted = false;
            vector = interrupt_pending(m) >= 0 ? 0 : -1;
        }
        if (m->event)
            return m->event;
        if (halted) {
            uint64_t due = next_due(m);
            if (flags & RUN_STOP_WHEN_IDLE)
                return EV_IDLE;
            if (due > until) {
                if (until > m->dev.time && until != ~0ull)
                    m->dev.time = until;
                return until == ~0ull ? EV_IDLE : EV_DEADLINE;
            }
            if (due > m->dev.time)
                m->dev.time = due;
            continue;
        }
        if (m->dev.time >= until)
            return EV_DEADLINE;
        if (m->blocks >= end)
            return EV_SLICE;
        uint64_t due = next_due(m), grant = end - m->blocks;
        if (due > until)
            due = until;
        if (due != ~0ull && (due - m->dev.time) / NS_PER_BLOCK + 1 < grant)
            grant = (due - m->dev.time) / NS_PER_BLOCK + 1;
        if (vector >= 0 && grant > 32) /* it waits for interrupts to be enabled: look again soon */
            grant = 32;
        m->granted = m->fuel = grant;
        uc_err err = m->uc_.emu_start(m->uc, m->pc, 0, 0, 0);
        bool out_of_fuel = m->fuel < 0;
        if (out_of_fuel)
            m->fuel = 0;
        settle(m);
        if (err != UC_ERR_OK) {
            fail(m, "the CPU stopped: %s", m->uc_.strerror(err));
            return EV_ERROR;
        }
        if (m->denied) {
            memcpy(m->env, m->offender, m->env_size);
            env_store(m);
            m->denied = false;
            m->event = EV_NONE;
            m->dev.exceptions[13]++;
            deliver(m, 13, true, 0);
            continue;
        }
        if (m->event)
            return m->event;
        if (!out_of_fuel) { /* nobody asked to stop: it is HLT */
            if (!(read_reg(m, UC_X86_REG_EFLAGS) & FLAG_IF))
                return EV_HALTED;
            halted = true;
        }
    }
}

/*
 * Make the process that stands at the doorbell do one system call: registers are set, and it is left at its SYSCALL
 * instruction. kobox_run() does the rest.
 */
EXPORT void kobox_set_syscall(struct machine *m, uint64_t at, const uint64_t *call)
{
    static const int order[7] = {R_RAX, R_RDI, R_RSI, R_RDX, R_R10, R_R8, R_R9};
    uint8_t *blob = at_the_cpu(m);
    for (int i = 0; i < 7; i++)
        *env64(m, AT_REGS + 8 * order[i]) = call[i];
    *env64(m, AT_EIP) = at;
    m->env = blob;
    m->pc = at;
}

/* ---- registers, memory ----------------------------------------------------------------------------------------------------- */
/* 0-15 RAX RCX RDX RBX RSP RBP RSI RDI R8-R15, 16 RIP, 17 RFLAGS, 18 CR0, 19 CR2, 20 CR3, 21 CR4, 22 CS, 23 SS, 24 GS base, 25 FS base, 26 CPL */
EXPORT void kobox_registers(struct machine *m, uint64_t *out)
{
    const struct segment *segs = (const struct segment *)(m->cpu + AT_SEGS);
    uint32_t hflags;
    memcpy(&hflags, m->cpu + AT_HFLAGS, 4);
    memcpy(out, m->cpu + AT_REGS, 128);
    out[16] = read_reg(m, UC_X86_REG_RIP);
    out[17] = read_reg(m, UC_X86_REG_EFLAGS) & 0xFFFFFFFF;
    out[18] = live64(m, AT_CR);
    out[19] = live64(m, AT_CR + 16);
    out[20] = live64(m, AT_CR + 24);
    out[21] = live64(m, AT_CR + 32);
    out[22] = segs[SEG_CS].selector;
    out[23] = segs[SEG_SS].selector;
    out[24] = segs[5].base;
    out[25] = segs[4].base;
    out[26] = hflags & HF_CPL;
}

static const int register_ids[18] = {
    UC_X86_REG_RAX, UC_X86_REG_RCX, UC_X86_REG_RDX, UC_X86_REG_RBX, UC_X86_REG_RSP, UC_X86_REG_RBP, UC_X86_REG_RSI,
    UC_X86_REG_RDI, UC_X86_REG_R8, UC_X86_REG_R9, UC_X86_REG_R10, UC_X86_REG_R11, UC_X86_REG_R12, UC_X86_REG_R13,
    UC_X86_REG_R14, UC_X86_REG_R15, UC_X86_REG_RIP, UC_X86_REG_FS_BASE,
};

EXPORT uint64_t kobox_register(struct machine *m, int n) { return read_reg(m, register_ids[n]); }
EXPORT void kobox_set_register(struct machine *m, int n, uint64_t value)
{
    write_reg(m, register_ids[n], value);
    if (n == 16)
        m->pc = value;
}
EXPORT uint64_t kobox_translate(struct machine *m, uint64_t va, int write)
{
    return walk(m, read_reg(m, UC_X86_REG_CR3), va, write ? WRITE : READ);
}
EXPORT int kobox_copy(struct machine *m, uint64_t va, void *data, uint64_t n, int write)
{
    return copy_virtual(m, live_cr3(m), va, data, n, write);
}
EXPORT int kobox_copy_space(struct machine *m, uint64_t cr3, uint64_t va, void *data, uint64_t n, int write)
{
    return copy_virtual(m, cr3, va, data, n, write);
}
EXPORT uint8_t *kobox_ram(struct machine *m) { return m->ram; }
EXPORT uint64_t kobox_time(struct machine *m) { return now(m); }
/* While the machine stands still: time passes as if the CPU had been taken away. Timers are then due at this instruction. */
EXPORT void kobox_pass(struct machine *m, uint64_t ns) { settle(m); m->dev.time += ns; }
EXPORT uint64_t kobox_blocks(struct machine *m) { return m->blocks; }
EXPORT uint64_t kobox_due(struct machine *m) { return next_due(m); }
EXPORT const char *kobox_error(struct machine *m) { return m->error; }
EXPORT int kobox_abi(void) { return ABI; }
EXPORT void kobox_stop(struct machine *m) { m->event = EV_STOPPED; m->uc_.emu_stop(m->uc); }
EXPORT void kobox_set_doorbell(struct machine *m, uint64_t at)
{
    m->user_doorbell = at;
    m->home = read_reg(m, UC_X86_REG_CR3) & PTE_ADDRESS;
    copy_virtual(m, m->home, at - sizeof m->agent / 2, m->agent, sizeof m->agent, false);
}
EXPORT uint64_t kobox_cr3(struct machine *m) { return read_reg(m, UC_X86_REG_CR3); }
EXPORT uint64_t kobox_syscalls(struct machine *m) { return m->dev.syscalls; }
EXPORT uint64_t kobox_progress(struct machine *m)
{
    return live64(m, AT_HFLAGS) & HF_CPL ? ~m->blocks : m->dev.syscalls;
}
EXPORT void kobox_statistics(struct machine *m, uint64_t *out)
{
    memcpy(out, m->dev.exceptions, sizeof m->dev.exceptions);
    out[32] = m->dev.interrupts;
    out[33] = m->dev.syscalls;
    out[34] = m->blocks;
}

/* Console output since byte `from` of the stream; returns how many bytes were ever written. */
EXPORT uint64_t kobox_console(struct machine *m, uint64_t from, char *out, uint64_t size)
{
    if (m->console_written > CONSOLE_SIZE && from < m->console_written - CONSOLE_SIZE)
        from = m->console_written - CONSOLE_SIZE;
    for (uint64_t i = 0; i < size && from + i < m->console_written; i++)
        out[i] = m->console[(from + i) % CONSOLE_SIZE];
    return m->console_written;
}

EXPORT int kobox_uart_input(struct machine *m, int n, const char *data, int size)
{
    struct uart *u = &m->dev.uart[n];
    int taken = 0;
    while (taken < size && u->rx_count < sizeof u->rx) {
        u->rx[(u->rx_head + u->rx_count++) % sizeof u->rx] = data[taken++];
    }
    uart_update(m, n);
    return taken;
}

/* ---- probes --------------------------------------------------------------------------------------------------------------- */
/*
 * Drop the translations of pages of RAM. Unicorn's call for it takes a virtual address of the current mode, and gives up
 * where that cannot be executed; with paging off the address is the physical one, and every page can be.
 */
static void with_paging_off(struct machine *m, void (*action)(struct machine *, const void *), const void *what)
{
    uint64_t cr0;
    env_load(m);
    uint8_t *saved = malloc(m->env_size);
    memcpy(saved, m->env, m->env_size);
    cr0 = *env64(m, AT_CR) & ~0x80000000ull;
    *env64(m, AT_CR) = cr0;
    *env32(m, AT_HFLAGS) &= ~(uint32_t)HF_CPL;
    env_store(m);
    m->uc_.ctl(m->uc, UC_CTL_WRITE(UC_CTL_TLB_FLUSH, 0));
    action(m, what);
    memcpy(m->env, saved, m->env_size);
    env_store(m);
    m->uc_.ctl(m->uc, UC_CTL_WRITE(UC_CTL_TLB_FLUSH, 0));
    free(saved);
}

static void drop_page(struct machine *m, uint64_t page)
{
    m->uc_.ctl(m->uc, UC_CTL_WRITE(UC_CTL_TB_REMOVE_CACHE, 2), page * PAGE, (page + 1) * PAGE);
}

struct pages { const uint64_t *list; size_t count; };

static void drop_pages(struct machine *m, const void *what)
{
    const struct pages *pages = what;
    for (size_t i = 0; i < pages->count; i++)
        drop_page(m, pages->list[i]);
}

/*
 * Deleting a hook looks its address up in the page tables as the CPU does: where nothing is mapped any more, as in a module's
 * init code, that leaves a page fault behind in the CPU's state, which therefore is put back as it was.
 */
static void delete_hooks(struct machine *m)
{
    env_load(m);
    uint8_t *saved = malloc(m->env_size);
    memcpy(saved, m->env, m->env_size);
    while (m->gone_count)
        m->uc_.hook_del(m->uc, m->gone[--m->gone_count]);
    memcpy(m->env, saved, m->env_size);
    env_store(m);
    free(saved);
}

static void drop_stale(struct machine *m)
{
    if (m->gone_count)
        delete_hooks(m);
    struct pages pages = {m->stale, m->stale_count};
    if (m->stale_count)
        with_paging_off(m, drop_pages, &pages);
    m->stale_count = 0;
}

/* In a probe's callback the CPU is inside a translation, and its state must not be swapped: then it waits for the next block. */
void drop_code_at(struct machine *m, uint64_t va)
{
    uint64_t pa = walk(m, read_reg(m, UC_X86_REG_CR3), va, READ), page = pa / PAGE;
    if (pa >= m->ram_size || !(m->code_pages[page / 8] & 1 << (page & 7)))
        return;
    for (size_t i = 0; i < m->stale_count; i++)
        if (m->stale[i] == page)
            return;
    if (m->stale_count < sizeof m->stale / sizeof *m->stale)
        m->stale[m->stale_count++] = page;
    if (m->in_callback)
        reconsider(m);
    else
        drop_stale(m);
}

EXPORT void kobox_on_probe(struct machine *m, probe_callback callback) { m->on_probe = callback; }

/* The probe at an address, made if there is none. With `entry`, only jumps, calls and returns lead to the address. */
struct probe *make_probe(struct machine *m, uint64_t address, bool entry)
{
    struct probe *p = find_probe(m, address), *room = NULL;
    if (!p) {
        if (m->probe_count == MAX_PROBES)
            return NULL;
        for (uint32_t n = probe_hash(address); !room; n++)
            if (!m->probes[n % PROBE_SLOTS].address)
                room = &m->probes[n % PROBE_SLOTS];
        p = room;
        *p = (struct probe){.address = address};
        m->probe_count++;
        uint32_t bit = probe_hash(address) % PROBE_BITS;
        m->probe_bits[bit / 32] |= 1u << (bit % 32);
    }
    if (!entry && !p->hooked) {
        if (m->uc_.hook_add(m->uc, &p->hook, UC_HOOK_CODE, (void *)on_code, m, address, address) != UC_ERR_OK)
            return NULL;
        p->hooked = true;
        drop_code_at(m, address);
    }
    return p;
}

/* Free a slot of the table: those after it that could have stood here move up (Knuth, 6.4, algorithm R). */
static void take_out(struct machine *m, struct probe *p)
{
    uint32_t hole = (uint32_t)(p - m->probes);
    for (uint32_t n = (hole + 1) % PROBE_SLOTS; m->probes[n].address; n = (n + 1) % PROBE_SLOTS) {
        uint32_t home = probe_hash(m->probes[n].address) % PROBE_SLOTS;
        if ((n - home) % PROBE_SLOTS >= (n - hole) % PROBE_SLOTS) {
            m->probes[hole] = m->probes[n];
            hole = n;
        }
    }
    m->probes[hole] = (struct probe){0};
    if (--m->probe_count == 0)
        memset(m->probe_bits, 0, sizeof m->probe_bits);
}

void remove_probe(struct machine *m, struct probe *p)
{
    uint64_t address = p->address;
    bool hooked = p->hooked;
    if (hooked && m->gone_count < MAX_PROBES) /* else it stays, and finds nobody to call */
        m->gone[m->gone_count++] = p->hook;
    take_out(m, p);
    if (!hooked)
        return;
    drop_code_at(m, address);
    if (m->in_callback)
        reconsider(m);
    else
        drop_stale(m);
}

/* Tell Python when the CPU reaches an address: always, or when one of the things that `flags` names is so. */
EXPORT int kobox_probe_add(struct machine *m, uint64_t address, unsigned flags)
{
    struct probe *p = make_probe(m, address, flags & PROBE_ENTRY);
    if (!p)
        return -1;
    unsigned wants = flags & ~(unsigned)PROBE_ENTRY;
    p->wants = !p->python ? wants : p->wants && wants ? p->wants | wants : 0;
    p->python = true;
    return 0;
}

EXPORT void kobox_probe_remove(struct machine *m, uint64_t address)
{
    struct probe *p = find_probe(m, address);
    if (!p)
        return;
    p->python = false;
    if (!p->native && !p->patches)
        remove_probe(m, p);
}

/* Say where __text_poke() is. */
EXPORT int kobox_set_patcher(struct machine *m, uint64_t address)
{
    struct probe *p = make_probe(m, address, true);
    if (p)
        p->patches = true;
    return p ? 0 : -1;
}

/* Leave the function that was just entered, with `value` in RAX: only inside a probe's callback. */
EXPORT int kobox_return(struct machine *m, uint64_t value)
{
    uint64_t rsp = read_reg(m, UC_X86_REG_RSP), to;
    if (!kobox_copy(m, rsp, &to, 8, 0))
        return 0;
    write_reg(m, UC_X86_REG_RAX, value);
    write_reg(m, UC_X86_REG_RSP, rsp + 8);
    write_reg(m, UC_X86_REG_RIP, to);
    return 1;
}

/* ---- devices that Python models ------------------------------------------------------------------------------------------------ */
EXPORT void kobox_on_device(struct machine *m, device_callback callback) { m->on_device = callback; }

/* They share one interrupt. A second request while the first is being handled makes a second interrupt: none is lost. */
EXPORT void kobox_device_interrupt(struct machine *m) { pic_pulse(m, DEVICES_IRQ); }

/* From a device's callback: make kobox_run() come back before the next block. */
EXPORT void kobox_device_event(struct machine *m)
{
    m->event = EV_DEVICE;
    reconsider(m);
}

/* A device has written RAM by itself: code that was translated from there is no longer what it says. */
EXPORT void kobox_device_wrote(struct machine *m, uint64_t address, uint64_t size)
{
    for (uint64_t page = address / PAGE; page * PAGE < address + size && page < m->ram_size / PAGE; page++) {
        if (!(m->code_pages[page / 8] & 1 << (page & 7)) || m->stale_count == sizeof m->stale / sizeof *m->stale)
            continue;
        m->stale[m->stale_count++] = page;
        m->code_pages[page / 8] &= ~(1 << (page & 7));
        reconsider(m);
    }
}

/* ---- snapshots and checkpoints ------------------------------------------------------------------------------------------------ */
EXPORT uint64_t kobox_state_size(struct machine *m) { return m->env_size + sizeof m->dev + 24 + sizeof m->agent; }

EXPORT void kobox_state_save(struct machine *m, uint8_t *out)
{
    settle(m);
    env_load(m);
    memcpy(out, m->env, m->env_size);
    memcpy(out + m->env_size, &m->dev, sizeof m->dev);
    memcpy(out + m->env_size + sizeof m->dev, &m->blocks, 8);
    memcpy(out + m->env_size + sizeof m->dev + 8, &m->user_doorbell, 8);
    memcpy(out + m->env_size + sizeof m->dev + 16, &m->home, 8);
    memcpy(out + m->env_size + sizeof m->dev + 24, m->agent, sizeof m->agent);
}

EXPORT void kobox_state_load(struct machine *m, const uint8_t *in)
{
    memcpy(&m->dev, in + m->env_size, sizeof m->dev);
    memcpy(&m->blocks, in + m->env_size + sizeof m->dev, 8);
    memcpy(&m->user_doorbell, in + m->env_size + sizeof m->dev + 8, 8);
    memcpy(&m->home, in + m->env_size + sizeof m->dev + 16, 8);
    memcpy(m->agent, in + m->env_size + sizeof m->dev + 24, sizeof m->agent);
    memcpy(m->env, in, m->env_size);
    env_store(m);
    m->granted = m->fuel = 0;
    m->pc = *env64(m, AT_EIP);
    m->uc_.ctl(m->uc, UC_CTL_WRITE(UC_CTL_TLB_FLUSH, 0));
}

#define PAGEMAP_PRESENT (1ull << 63)
#define PAGEMAP_SWAPPED (1ull << 62)
#define PAGEMAP_FILE (1ull << 61)

/* The pages of RAM that are no longer the snapshot file's (or, without one, that were ever written), in order. */
static size_t written_pages(struct machine *m, uint64_t *list)
{
    if (m->owner != getpid()) { /* after fork(), the file still shows the parent's memory */
        close(m->pagemap);
        m->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
        m->owner = getpid();
    }
    uint64_t entries[512], pages = m->ram_size / PAGE, first = (uintptr_t)m->ram / PAGE;
    size_t count = 0;
    for (uint64_t at = 0; at < pages; at += 512) {
        uint64_t n = pages - at < 512 ? pages - at : 512;
        if (pread(m->pagemap, entries, n * 8, (first + at) * 8) != (ssize_t)(n * 8))
            return 0;
        for (uint64_t i = 0; i < n; i++)
            if (entries[i] & PAGEMAP_SWAPPED || ((entries[i] & PAGEMAP_PRESENT) && !(entries[i] & PAGEMAP_FILE)))
                list[count++] = at + i;
    }
    return count;
}

struct checkpoint { size_t count; uint64_t *list; uint8_t *pages, *state; uint64_t console; };

EXPORT struct checkpoint *kobox_checkpoint(struct machine *m)
{
    struct checkpoint *c = calloc(1, sizeof *c);
    uint64_t *list = malloc(m->ram_size / PAGE * 8);
    if (!c || !list)
        return NULL;
    c->count = written_pages(m, list);
    c->list = realloc(list, c->count * 8 + 8);
    c->pages = malloc(c->count * PAGE + 1);
    c->state = malloc(kobox_state_size(m));
    if (!c->list || !c->pages || !c->state)
        return NULL;
    for (size_t i = 0; i < c->count; i++)
        memcpy(c->pages + i * PAGE, m->ram + c->list[i] * PAGE, PAGE);
    kobox_state_save(m, c->state);
    c->console = m->console_written;
    return c;
}

/* The checkpoint of a machine as it stood in its snapshot: RAM is the file's, so only CPU and devices need keeping. */
EXPORT struct checkpoint *kobox_checkpoint_of(struct machine *m, const uint8_t *state)
{
    struct checkpoint *c = calloc(1, sizeof *c);
    if (!c || !(c->state = malloc(kobox_state_size(m))))
        return NULL;
    memcpy(c->state, state, kobox_state_size(m));
    return c;
}

EXPORT uint64_t kobox_checkpoint_size(const struct checkpoint *c) { return c->count * PAGE; }

EXPORT void kobox_checkpoint_free(struct checkpoint *c)
{
    free(c->list);
    free(c->pages);
    free(c->state);
    free(c);
}

/*
 * Give RAM and devices back as they were. Only pages written since the snapshot are looked at; one that differs is
 * copied back, and its translated code, if it had any, is dropped. Translations of all other code stay warm.
 */
EXPORT int64_t kobox_restore(struct machine *m, const struct checkpoint *c)
{
    static const uint8_t zero[PAGE];
    uint64_t *list = malloc(m->ram_size / PAGE * 8), *changed = malloc(m->ram_size / PAGE * 8);
    if (!list || !changed)
        return -1;
    size_t count = written_pages(m, list), next = 0, differing = 0, stale = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t page = list[i];
        while (next < c->count && c->list[next] < page)
            next++;
        const uint8_t *want = next < c->count && c->list[next] == page ? c->pages + next * PAGE
                              : m->base                                ? m->base + page * PAGE
                                                                       : zero;
        if (!memcmp(m->ram + page * PAGE, want, PAGE))
            continue;
        memcpy(m->ram + page * PAGE, want, PAGE);
        differing++;
        if (m->code_pages[page / 8] & 1 << (page & 7))
            changed[stale++] = page;
    }
    struct pages pages = {changed, stale};
    if (stale)
        with_paging_off(m, drop_pages, &pages);
    for (size_t i = 0; i < stale; i++)
        m->code_pages[changed[i] / 8] &= ~(1 << (changed[i] & 7));
    kobox_state_load(m, c->state);
    m->console_written = c->console;
    free(list);
    free(changed);
    return differing;
}

static bool is_zero(const uint8_t *page)
{
    const uint64_t *word = (const uint64_t *)page;
    for (unsigned i = 0; i < PAGE / 8; i++)
        if (word[i])
            return false;
    return true;
}

/*
 * Write RAM to a file at `offset`, leaving holes for pages of zeroes. `used` gets one byte a page: 1 where the file holds
 * data. Returns the number of such pages, or -errno.
 */
EXPORT int64_t kobox_ram_save(struct machine *m, int fd, uint64_t offset, uint8_t *used)
{
    uint64_t pages = m->ram_size / PAGE, *list = malloc(pages * 8);
    if (!list)
        return -ENOMEM;
    size_t written = m->base ? 0 : written_pages(m, list); /* memory that nobody has touched need not be looked at */
    memset(used, 0, pages);
    for (size_t i = 0; i < (written ? written : pages); i++) {
        uint64_t page = written ? list[i] : i;
        used[page] = !is_zero(m->ram + page * PAGE);
    }
    free(list);
    int64_t count = 0;
    for (uint64_t page = 0, end; page < pages; page = end + 1) {
        for (end = page; end < pages && used[end]; end++)
            count++;
        for (uint64_t at = page * PAGE; at < end * PAGE;) {
            ssize_t done = pwrite(fd, m->ram + at, end * PAGE - at, offset + at);
            if (done <= 0)
                return done && errno ? -errno : -EIO;
            at += done;
        }
    }
    return ftruncate(fd, offset + m->ram_size) ? -errno : count;
}

/* A 64-bit sum of `size` bytes (a multiple of 32) in four independent lanes: it finds damage, not malice. */
EXPORT uint64_t kobox_sum(const uint8_t *data, uint64_t size)
{
    uint64_t lane[4] = {1, 2, 3, 4}, word[4];
    for (uint64_t i = 0; i < size; i += 32) {
        memcpy(word, data + i, 32);
        for (int j = 0; j < 4; j++)
            lane[j] = ((lane[j] << 29 | lane[j] >> 35) ^ word[j]) * 0x9E3779B97F4A7C15ull;
    }
    return (lane[0] ^ lane[1] << 1) + (lane[2] ^ lane[3] << 3);
}

/* The sums of `count` runs of pages, { first page, pages } each, folded into one. */
EXPORT uint64_t kobox_sum_runs(const uint8_t *base, const uint64_t *runs, uint64_t count)
{
    uint64_t total = 0;
    for (uint64_t i = 0; i < count; i++)
        total = total * 31 + kobox_sum(base + runs[2 * i] * PAGE, runs[2 * i + 1] * PAGE);
    return total;
}

/* ---- birth and death ---------------------------------------------------------------------------------------------------------- */
static bool find_functions(struct machine *m, const char *library)
{
    struct api *a = &m->uc_;
    a->handle = dlopen(library, RTLD_LAZY | RTLD_LOCAL);
    if (!a->handle)
        return false;
    struct { const char *name; void *where; } wanted[] = {
        {"uc_open", &a->open}, {"uc_close", &a->close}, {"uc_ctl", &a->ctl}, {"uc_mem_map_ptr", &a->map_ptr},
        {"uc_mmio_map", &a->mmio_map}, {"uc_hook_add", &a->hook_add}, {"uc_hook_del", &a->hook_del},
        {"uc_emu_start", &a->emu_start}, {"uc_emu_stop", &a->emu_stop}, {"uc_reg_read", &a->reg_read},
        {"uc_reg_write", &a->reg_write}, {"uc_context_alloc", &a->context_alloc}, {"uc_context_free", &a->context_free},
        {"uc_context_save", &a->context_save}, {"uc_context_restore", &a->context_restore},
        {"uc_context_size", &a->context_size}, {"uc_strerror", &a->strerror},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        void *found = dlsym(a->handle, wanted[i].name);
        if (!found)
            return false;
        memcpy(wanted[i].where, &found, sizeof found);
    }
    return true;
}

/* Load libunicorn ahead of the first machine: it takes longer than all else that a machine needs. */
EXPORT void kobox_preload(const char *library) { dlopen(library, RTLD_LAZY | RTLD_LOCAL); }

enum { ENGINE = 4096, OBJECT = 1 << 17 }; /* how much is looked at of uc_engine, and of what may be the CPU object */

/* Copy this process's own memory as far as it is mapped: the kernel takes each stretch, a page here, wholly or not at all. */
static size_t peek(const uint8_t *from, uint8_t *to, size_t size)
{
    struct iovec local = {to, size}, remote[OBJECT / PAGE + 1];
    size_t count = 0;
    for (size_t done = 0; done < size; count++) {
        size_t piece = PAGE - ((uintptr_t)(from + done) & (PAGE - 1));
        remote[count] = (struct iovec){(void *)(from + done), piece < size - done ? piece : size - done};
        done += remote[count].iov_len;
    }
    ssize_t copied = process_vm_readv(getpid(), &local, 1, remote, count, 0);
    return copied < 0 ? 0 : (size_t)copied;
}

static uint64_t word_at(const uint8_t *at)
{
    uint64_t word;
    memcpy(&word, at, 8);
    return word;
}

/*
 * Find the CPU's own CPUX86State: the first fields of uc_engine hold a pointer to the CPU object, and that holds it. Memory
 * is looked at through the kernel, which says where none is; a second marker tells the CPU from copies of its state.
 */
static bool find_cpu(struct machine *m, uint64_t marker, uint64_t ip)
{
    static const uint64_t second = 0x0807060504030201ull;
    uint8_t engine[ENGINE], *object = malloc(OBJECT);
    size_t size = peek((const uint8_t *)m->uc, engine, ENGINE);
    for (size_t n = 0; object && !m->cpu && n + 8 <= size; n += 8) {
        uint64_t candidate = word_at(engine + n);
        if (candidate < 1 << 16 || candidate >> 47 || candidate & 15)
            continue;
        size_t got = peek((const uint8_t *)candidate, object, OBJECT);
        for (size_t at = 0; !m->cpu && at + AT_OLD_EXCEPTION + 8 <= got; at += 8)
            if (word_at(object + at) == marker && word_at(object + at + AT_EIP) == ip &&
                !memcmp(object + at + AT_SEGS, m->env + AT_SEGS, AT_ERROR_CODE - AT_SEGS)) {
                write_reg(m, UC_X86_REG_RAX, second);
                if (word_at((uint8_t *)candidate + at) == second)
                    m->cpu = (uint8_t *)candidate + at;
                write_reg(m, UC_X86_REG_RAX, m->cpu ? 0 : marker);
            }
    }
    free(object);
    return m->cpu;
}

/* Find CPUX86State in the context blob by a marker in RAX, and verify the fields after it that are reached directly. */
static bool calibrate(struct machine *m)
{
    static const uint64_t marker = 0x1122334455667788ull, ip = 0x00007A7A12345678ull, cr2 = 0x99AABBCCDDEE1234ull;
    uc_x86_mmr idt = {.base = 0x123456789000ull, .limit = 0xABC};
    if (m->uc_.context_alloc(m->uc, &m->context) != UC_ERR_OK)
        return false;
    write_reg(m, UC_X86_REG_RAX, marker);
    write_reg(m, UC_X86_REG_RIP, ip);
    write_reg(m, UC_X86_REG_CR2, cr2);
    m->uc_.reg_write(m->uc, UC_X86_REG_IDTR, &idt);
    env_load(m);
    size_t size = m->uc_.context_size(m->uc);
    for (size_t at = 0; at + AT_OLD_EXCEPTION + 4 < size && at < 256; at += 8) {
        m->env = (uint8_t *)m->context + at;
        if (*env64(m, AT_REGS) != marker)
            continue;
        m->env_size = size - at;
        if (!(m->offender = malloc(m->env_size)))
            return false;
        if (*env64(m, AT_EIP) != ip || *env64(m, AT_CR + 16) != cr2 || *env64(m, AT_IDT + 8) != idt.base)
            return false;
        return find_cpu(m, marker, ip);
    }
    return false;
}

static bool map_everything(struct machine *m)
{
    const uint64_t apic = 0xFEE00000ull, top = 1ull << 40, after = DEVICES + DEVICES_SIZE;
    const struct api *a = &m->uc_;
    return a->map_ptr(m->uc, 0, m->ram_size, UC_PROT_ALL, m->ram) == UC_ERR_OK &&
           a->mmio_map(m->uc, m->ram_size, DEVICES - m->ram_size, void_read, m, void_write, m) == UC_ERR_OK &&
           a->mmio_map(m->uc, DEVICES, DEVICES_SIZE, device_read, m, device_write, m) == UC_ERR_OK &&
           a->mmio_map(m->uc, after, apic - after, void_read, m, void_write, m) == UC_ERR_OK &&
           a->mmio_map(m->uc, apic, PAGE, lapic_read, m, lapic_write, m) == UC_ERR_OK &&
           a->mmio_map(m->uc, apic + PAGE, top - apic - PAGE, void_read, m, void_write, m) == UC_ERR_OK;
}

static bool hook_everything(struct machine *m)
{
    static const struct { int insn; void *callback; } table[] = {
        {UC_X86_INS_RDTSC, (void *)on_rdtsc}, {UC_X86_INS_IN, (void *)port_in},       {UC_X86_INS_OUT, (void *)port_out},
        {UC_X86_INS_SYSCALL, (void *)on_syscall}, {UC_X86_INS_CPUID, (void *)on_cpuid}, {UC_X86_INS_RDTSCP, (void *)on_rdtscp},
    };
    const struct api *a = &m->uc_;
    uc_hook h;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (a->hook_add(m->uc, &h, UC_HOOK_INSN, table[i].callback, m, 1, 0, table[i].insn) != UC_ERR_OK)
            return false;
    return a->hook_add(m->uc, &h, UC_HOOK_INTR, (void *)on_exception, m, 1, 0) == UC_ERR_OK &&
           a->hook_add(m->uc, &h, UC_HOOK_INSN_INVALID, (void *)on_invalid, m, 1, 0) == UC_ERR_OK &&
           a->hook_add(m->uc, &h, UC_HOOK_BLOCK, (void *)on_block, m, 1, 0) == UC_ERR_OK &&
           a->hook_add(m->uc, &h, UC_HOOK_EDGE_GENERATED, (void *)on_new_code, m, 1, 0) == UC_ERR_OK;
}

EXPORT void kobox_close(struct machine *m)
{
    watch_close(m);
    if (m->uc)
        m->uc_.close(m->uc);
    if (m->ram && m->ram != MAP_FAILED)
        munmap(m->ram, m->ram_size);
    if (m->base && m->base != MAP_FAILED)
        munmap((void *)m->base, m->ram_size);
    if (m->pagemap >= 0)
        close(m->pagemap);
    free(m->code_pages);
    free(m->offender);
    free(m->user_bits);
    free(m);
}

/*
 * A machine with `ram_size` bytes of RAM: zero, or (ram_fd >= 0) a private view of that file from `offset`.
 * NULL on failure, with the reason in `error` (256 bytes).
 */
EXPORT struct machine *kobox_open(const char *library, int ram_fd, uint64_t offset, uint64_t ram_size, uint64_t epoch, char *error)
{
    struct machine *m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    m->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    m->owner = getpid();
    m->ram_size = ram_size;
    m->dev.epoch = epoch;
    m->dev.lapic.reg[APIC_VERSION] = 0x00050014;
    m->dev.lapic.reg[APIC_SVR] = 0xFF;
    for (int n = APIC_LVTT; n <= APIC_LVTERR; n++)
        m->dev.lapic.reg[n] = 0x10000;
    m->dev.pic[0].imr = m->dev.pic[1].imr = 0xFF;
    m->code_pages = calloc(1, ram_size / PAGE / 8 + 1);
    m->user_bits = calloc(1, ram_size / PAGE / 8 + 1);
    int anonymous = ram_fd < 0 ? MAP_ANONYMOUS : 0;
    m->ram = mmap(NULL, ram_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE | anonymous, ram_fd, offset);
    if (ram_fd < 0 && m->ram != MAP_FAILED)
        madvise(m->ram, ram_size, MADV_HUGEPAGE); /* a boot writes a third of it: some hundred page faults instead of thousands */
    if (ram_fd >= 0)
        m->base = mmap(NULL, ram_size, PROT_READ, MAP_PRIVATE | MAP_NORESERVE, ram_fd, offset);
    const char *what = NULL;
    if (m->pagemap < 0)
        what = "cannot read /proc/self/pagemap";
    else if (m->ram == MAP_FAILED || m->base == MAP_FAILED)
        what = "cannot map the guest's memory";
    else if (!find_functions(m, library))
        what = "cannot load libunicorn, or it lacks a function";
    else if (m->uc_.open(UC_ARCH_X86, UC_MODE_64, &m->uc) != UC_ERR_OK)
        what = "cannot make a Unicorn CPU";
    else if (m->uc_.ctl(m->uc, UC_CTL_WRITE(UC_CTL_CPU_MODEL, 1), UC_CPU_X86_WESTMERE) != UC_ERR_OK ||
             m->uc_.ctl(m->uc, UC_CTL_WRITE(UC_CTL_UC_USE_EXITS, 1), 1) != UC_ERR_OK)
        what = "cannot configure the Unicorn CPU";
    else if (!map_everything(m) || !hook_everything(m))
        what = "cannot set up the machine's memory and hooks";
    else if (!calibrate(m))
        what = "this Unicorn keeps its CPU state elsewhere than kobox knows";
    if (what) {
        snprintf(error, 256, "%s%s%s", what, m->uc_.handle ? "" : ": ", m->uc_.handle ? "" : dlerror());
        kobox_close(m);
        return NULL;
    }
    return m;
}

/* The CPU as the 64-bit boot protocol wants it: long mode, paging on, flat segments, RSI at the zero page. */
EXPORT void kobox_start_at(struct machine *m, uint64_t entry, uint64_t zero_page, uint64_t gdt, uint64_t cr3)
{
    uc_x86_mmr table = {.base = gdt, .limit = 39};
    uc_x86_msr efer = {.rid = 0xC0000080, .value = 0xD00};
    m->uc_.reg_write(m->uc, UC_X86_REG_GDTR, &table);
    write_reg(m, UC_X86_REG_CR3, cr3);
    write_reg(m, UC_X86_REG_CR4, 0x620);
    m->uc_.reg_write(m->uc, UC_X86_REG_MSR, &efer);
    write_reg(m, UC_X86_REG_CR0, 0x80050033);
    write_reg(m, UC_X86_REG_DS, 0x18);
    write_reg(m, UC_X86_REG_ES, 0x18);
    write_reg(m, UC_X86_REG_SS, 0x18);
    write_reg(m, UC_X86_REG_CS, 0x10);
    write_reg(m, UC_X86_REG_RSI, zero_page);
    write_reg(m, UC_X86_REG_EFLAGS, 2);
    write_reg(m, UC_X86_REG_RIP, entry);
    m->pc = entry;
}
