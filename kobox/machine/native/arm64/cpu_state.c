/* The CPU's state as Unicorn keeps it, CPUARMState: found in the context blob and in the CPU itself, verified, read, written. */
#include "cpu.h"

#include <sys/uio.h>
#include <unistd.h>

void env_load(struct machine *m) { m->api.context_save(m->uc, m->context); }

void env_store(struct machine *m)
{
    m->api.context_restore(m->uc, m->context);
    refresh(m);
}

uint32_t pstate(const struct machine *m)
{
    uint32_t value = 0;
    m->api.reg_read(m->uc, UC_ARM64_REG_PSTATE, &value);
    return value;
}

/* Unicorn does not work out anew what follows from PSTATE: refresh(), or another write of a system register, has it do so. */
void set_pstate(struct machine *m, uint32_t value) { m->api.reg_write(m->uc, UC_ARM64_REG_PSTATE, &value); }

void write_system(struct machine *m, int op0, int op1, int crn, int crm, int op2, uint64_t value)
{
    uc_arm64_cp_reg r = {.op0 = op0, .op1 = op1, .crn = crn, .crm = crm, .op2 = op2, .val = value};
    m->api.reg_write(m->uc, UC_ARM64_REG_CP_REG, &r);
}

uint64_t read_system(const struct machine *m, int op0, int op1, int crn, int crm, int op2)
{
    uc_arm64_cp_reg r = {.op0 = op0, .op1 = op1, .crn = crn, .crm = crm, .op2 = op2};
    return m->api.reg_read(m->uc, UC_ARM64_REG_CP_REG, &r) == UC_ERR_OK ? r.val : 0;
}

void refresh(struct machine *m) { write_system(m, 3, 4, 13, 0, 2, 0); /* TPIDR_EL2: nobody's */ }

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
    uint64_t *sctlr = at64(m->cpu, AT_SCTLR + EL1), before = *sctlr;
    *sctlr &= ~SCTLR_M;
    refresh(m);
    m->api.ctl(m->uc, UC_CTL_WRITE(UC_CTL_TLB_FLUSH, 0));
    action(m);
    *sctlr = before;
    refresh(m);
    m->api.ctl(m->uc, UC_CTL_WRITE(UC_CTL_TLB_FLUSH, 0));
}

bool open_cpu(struct machine *m)
{
    return m->api.open(UC_ARCH_ARM64, UC_MODE_ARM, &m->uc) == UC_ERR_OK &&
           m->api.ctl(m->uc, UC_CTL_WRITE(UC_CTL_CPU_MODEL, 1), UC_CPU_ARM64_A72) == UC_ERR_OK &&
           m->api.ctl(m->uc, UC_CTL_WRITE(UC_CTL_UC_PAGE_SIZE, 1), (uint32_t)PAGE) == UC_ERR_OK &&
           m->api.ctl(m->uc, UC_CTL_WRITE(UC_CTL_TCG_BUFFER_SIZE, 1), TRANSLATION_BYTES) == UC_ERR_OK &&
           m->api.ctl(m->uc, UC_CTL_WRITE(UC_CTL_UC_USE_EXITS, 1), 1) == UC_ERR_OK;
}

/* ---- where the state is --------------------------------------------------------------------------------------------- */
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

static const uint64_t marks[4] = {0x1122334455667788, 0x99AABBCCDDEEFF01, 0x1357924680ACEBDF, 0xFEDCBA9876543210};

/* Whether the CPU's own state is at `env`: the registers that are reached directly are where they should be. */
static bool is_cpu(struct machine *m, uint8_t *env)
{
    uint64_t again = 0x0807060504030201, vbar = 0x123456789ABCD800, far = 0xF0DEBC9A78563412;
    m->api.reg_write(m->uc, UC_ARM64_REG_X0, &again);
    if (*at64(env, AT_XREGS) != again)
        return false;
    m->api.reg_write(m->uc, UC_ARM64_REG_VBAR_EL1, &vbar);
    m->api.reg_write(m->uc, UC_ARM64_REG_FAR_EL1, &far);
    return *at64(env, AT_VBAR + EL1) == vbar && *at64(env, AT_FAR + EL1) == far;
}

/* The first fields of uc_engine hold a pointer to the CPU object, and that holds its state. */
static bool find_cpu(struct machine *m)
{
    uint8_t engine[ENGINE], *object = malloc(OBJECT);
    size_t size = peek((const uint8_t *)m->uc, engine, ENGINE);
    for (size_t n = 0; object && !m->cpu && n + 8 <= size; n += 8) {
        uint64_t candidate;
        memcpy(&candidate, engine + n, 8);
        if (candidate < 1 << 16 || candidate >> 47 || candidate & 15)
            continue;
        size_t got = peek((const uint8_t *)candidate, object, OBJECT);
        for (size_t at = AT_XREGS; !m->cpu && at + AT_VADDRESS + 8 <= got; at += 8) {
            uint8_t *env = (uint8_t *)candidate + at - AT_XREGS;
            if (memcmp(object + at, marks, sizeof marks))
                continue;
            if (is_cpu(m, env))
                m->cpu = env;
            else
                m->api.reg_write(m->uc, UC_ARM64_REG_X0, &marks[0]);
        }
    }
    free(object);
    return m->cpu;
}

bool calibrate(struct machine *m)
{
    if (m->api.context_alloc(m->uc, &m->context) != UC_ERR_OK)
        return false;
    for (int n = 0; n < 4; n++)
        m->api.reg_write(m->uc, UC_ARM64_REG_X0 + n, &marks[n]);
    env_load(m);
    size_t size = m->api.context_size(m->uc);
    for (size_t at = AT_XREGS; at + AT_VADDRESS + 8 < size && at < 512; at += 8) {
        if (memcmp((uint8_t *)m->context + at, marks, sizeof marks))
            continue;
        m->env = (uint8_t *)m->context + at - AT_XREGS;
        m->env_size = size - (at - AT_XREGS);
        m->saved = malloc(m->env_size);
        return m->saved && find_cpu(m);
    }
    return false;
}
