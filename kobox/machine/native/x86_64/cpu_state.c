/*
 * The CPU's state as Unicorn keeps it, CPUX86State: found in the context blob and in the CPU itself, verified, read and written.
 */
#include "cpu.h"

uint64_t read_reg(struct machine *m, int id)
{
    uint64_t value = 0;
    m->api.reg_read(m->uc, id, &value);
    return value;
}

void write_reg(struct machine *m, int id, uint64_t value) { m->api.reg_write(m->uc, id, &value); }

void env_load(struct machine *m) { m->api.context_save(m->uc, m->context); }
void env_store(struct machine *m) { m->api.context_restore(m->uc, m->context); }

void with_cpu_kept(struct machine *m, void (*action)(struct machine *))
{
    env_load(m);
    memcpy(m->saved, m->env, m->env_size);
    action(m);
    memcpy(m->env, m->saved, m->env_size);
    env_store(m);
}

void with_paging_off(struct machine *m, void (*action)(struct machine *))
{
    env_load(m);
    memcpy(m->saved, m->env, m->env_size);
    *at64(m->env, AT_CR) &= ~0x80000000ull;
    *at32(m->env, AT_HFLAGS) &= ~(uint32_t)HF_CPL;
    env_store(m);
    m->api.ctl(m->uc, UC_CTL_WRITE(UC_CTL_TLB_FLUSH, 0));
    action(m);
    memcpy(m->env, m->saved, m->env_size);
    env_store(m);
    m->api.ctl(m->uc, UC_CTL_WRITE(UC_CTL_TLB_FLUSH, 0));
}

/* ---- where the state is --------------------------------------------------------------------------------------------- */
enum { ENGINE = 4096, OBJECT = MOST_PEEKED }; /* how much is looked at of uc_engine, and of what may be the CPU object */

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
        if (candidate < 1 << 16 || candidate >> 48 || candidate & 15)
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
bool calibrate(struct machine *m)
{
    static const uint64_t marker = 0x1122334455667788ull, ip = 0x00007A7A12345678ull, cr2 = 0x99AABBCCDDEE1234ull,
                          dr3 = 0x5566778899AA1234ull;
    uc_x86_mmr idt = {.base = 0x123456789000ull, .limit = 0xABC};
    if (m->api.context_alloc(m->uc, &m->context) != UC_ERR_OK)
        return false;
    write_reg(m, UC_X86_REG_RAX, marker);
    write_reg(m, UC_X86_REG_RIP, ip);
    write_reg(m, UC_X86_REG_CR2, cr2);
    write_reg(m, UC_X86_REG_DR3, dr3);
    m->api.reg_write(m->uc, UC_X86_REG_IDTR, &idt);
    env_load(m);
    size_t size = m->api.context_size(m->uc);
    for (size_t at = 0; at + AT_OLD_EXCEPTION + 4 < size && at < 256; at += 8) {
        m->env = (uint8_t *)m->context + at;
        if (*at64(m->env, AT_REGS) != marker)
            continue;
        m->env_size = size - at;
        m->offender = malloc(m->env_size);
        m->saved = malloc(m->env_size);
        if (!m->offender || !m->saved)
            return false;
        if (*at64(m->env, AT_EIP) != ip || *at64(m->env, AT_CR + 16) != cr2 || *at64(m->env, AT_IDT + 8) != idt.base ||
            *at64(m->env, AT_DR + 24) != dr3)
            return false;
        write_reg(m, UC_X86_REG_DR3, 0);
        return find_cpu(m, marker, ip);
    }
    return false;
}

/* ---- several CPUs ------------------------------------------------------------------------------------------------------ */
/* What a CPU is like before it has ever run: EFER has no LME, as after INIT. */
void keep_reset_state(struct machine *m)
{
    uc_x86_msr efer = {.rid = 0xC0000080, .value = 0};
    env_load(m);
    memcpy(m->saved, m->env, m->env_size);
    m->api.reg_write(m->uc, UC_X86_REG_MSR, &efer);
    write_reg(m, UC_X86_REG_EFLAGS, 2);
    env_load(m);
    memcpy(m->reset_state, m->env, m->env_size);
    memcpy(m->env, m->saved, m->env_size);
    env_store(m);
}

/* A start-up IPI: real mode, at a page of RAM (SDM volume 3, "MP initialization"). */
void start_cpu(struct machine *m, uint8_t *state, unsigned page)
{
    memcpy(state, m->reset_state, m->env_size);
    memset(state + AT_REGS, 0, 128);
    *at64(state, AT_EIP) = 0;
    *at32(state, AT_HFLAGS) = HF_ADDSEG;
    for (int n = 0; n < 6; n++)
        *segment_at(state, n) = (struct segment){.limit = 0xFFFF, .flags = n == SEG_CS ? REAL_MODE_CODE : REAL_MODE_DATA};
    segment_at(state, SEG_CS)->selector = page << 8;
    segment_at(state, SEG_CS)->base = (uint64_t)page << 12;
    for (int n = 0; n < 5; n++)
        *at64(state, AT_CR + 8 * (size_t)n) = n ? 0 : 0x60000010;
}

static uint64_t differing_bits(const uint8_t *a, const uint8_t *b, size_t at) { return word_at(a + at) ^ word_at(b + at); }

bool paging_differs(const uint8_t *a, const uint8_t *b)
{
    return differing_bits(a, b, AT_CR + 24) || differing_bits(a, b, AT_CR) & CR0_PAGING || differing_bits(a, b, AT_CR + 32) & CR4_PAGING;
}
