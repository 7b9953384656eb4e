/*
 * What processors with a link register have in common: the hypercall, calls that are put in between, virtual memory as Python sees
 * it, and where Unicorn keeps the CPU's state.
 */
#include "processor.h"

/* ---- the hypercall ------------------------------------------------------------------------------------------------------ */
/*
 * Whether the instruction at `at` is a hypercall: that of kobox's own processes, or of its program run by the kernel as
 * /sbin/modprobe. Any other program that executes the same instruction gets SIGILL.
 */
bool is_hypercall(struct machine *m, uint64_t at)
{
    uint32_t word;
    uint64_t space = address_space(m);
    if (!in_user_mode(m) || !copy_virtual(m, space, at, &word, sizeof word, false) || word != HYPERCALL)
        return false;
    if (!m->hypercall_at)
        return true;
    if (at != m->hypercall_at || space == m->home)
        return at == m->hypercall_at;
    uint8_t code[sizeof m->agent];
    return copy_virtual(m, space, at - sizeof code / 2, code, sizeof code, false) && !memcmp(code, m->agent, sizeof code) &&
           walk(m, space, at, WRITE) == (uint64_t)-1;
}

EXPORT void kobox_set_hypercall(struct machine *m, uint64_t at)
{
    m->hypercall_at = at;
    m->home = address_space(m);
    copy_virtual(m, m->home, at - sizeof m->agent / 2, m->agent, sizeof m->agent, false);
}

/*
 * Make the process that made the hypercall do one system call: registers are set, and it is left at the instruction for that.
 * kobox_run() does the rest.
 */
EXPORT void kobox_set_syscall(struct machine *m, uint64_t at, const uint64_t *call)
{
    set_live_reg(m, R_SYSCALL, call[0]);
    for (unsigned n = 0; n < 6; n++)
        set_live_reg(m, R_ARGUMENT + n, call[1 + n]);
    set_live_pc(m, at);
}

EXPORT uint64_t kobox_syscalls(struct machine *m) { return m->dev.syscalls; }

/* A number that changes whenever a program has made a system call, or runs code of its own. */
EXPORT uint64_t kobox_progress(struct machine *m) { return in_user_mode(m) ? ~m->blocks : m->dev.syscalls; }

/* ---- calls that are put in between ---------------------------------------------------------------------------------------- */
/* Leave the function that was just entered, with `value` for its result: its caller is where the link register says. */
bool leave_function(struct machine *m, uint64_t value)
{
    set_live_reg(m, R_RESULT, value);
    jump_to(m, live_reg(m, R_LINK));
    return true;
}

/*
 * Where the function that begins at `entry` returns to is kept, while another one is called in its place that returns to `entry`.
 * When that has returned, the link register is given back before anybody looks.
 */
EXPORT void kobox_keep_link(struct machine *m, uint64_t entry)
{
    uint64_t sp = live_sp(m);
    size_t n = 0;
    while (n < m->link_count && m->links[n].sp != sp)
        n++;
    if (n == sizeof m->links / sizeof *m->links)
        n = 0; /* of tasks that are gone, the oldest first */
    m->links[n] = (struct link){entry, sp, live_reg(m, R_LINK)};
    m->link_count += n == m->link_count;
}

void restore_link(struct machine *m, uint64_t address)
{
    if (RETURNS_BY_LINK && live_reg(m, R_LINK) != address) /* no function of the kernel's returns to its own beginning */
        return;
    for (size_t n = 0; n < m->link_count; n++)
        if (m->links[n].entry == address && m->links[n].sp == live_sp(m)) {
            set_live_reg(m, R_LINK, m->links[n].address);
            m->links[n] = m->links[--m->link_count];
            return;
        }
}

/* Change an argument of the function that was just entered. */
void set_argument(struct machine *m, unsigned n, uint64_t value)
{
    if (n < ARGUMENTS)
        set_live_reg(m, R_ARGUMENT + n, value);
}

/* Go to where a function begins, with the stack pointer and the return address that it had then. */
void enter_function(struct machine *m, uint64_t function, uint64_t sp, uint64_t site)
{
    set_live_reg(m, R_SP, sp);
    set_live_reg(m, R_LINK, site);
    jump_to(m, function);
}

/* ---- virtual memory, as Python sees it ------------------------------------------------------------------------------------ */
bool copy_virtual(struct machine *m, uint64_t space, uint64_t va, void *data, uint64_t n, bool write)
{
    uint8_t *at = data;
    while (n) {
        uint64_t chunk = PAGE - (va & (PAGE - 1)), pa = walk(m, space, va, write ? WRITE : READ);
        if (chunk > n)
            chunk = n;
        if (pa == (uint64_t)-1 || pa > m->ram_size || chunk > m->ram_size - pa)
            return false;
        if (write)
            memcpy(m->ram + pa, at, chunk);
        else
            memcpy(at, m->ram + pa, chunk);
        at += chunk, va += chunk, n -= chunk;
    }
    return true;
}

EXPORT uint64_t kobox_translate(struct machine *m, uint64_t va, int access)
{
    return walk(m, address_space(m), va, (enum access)access);
}

EXPORT int kobox_copy(struct machine *m, uint64_t va, void *data, uint64_t n, int write)
{
    return copy_virtual(m, address_space(m), va, data, n, write);
}

EXPORT int kobox_copy_space(struct machine *m, uint64_t space, uint64_t va, void *data, uint64_t n, int write)
{
    return copy_virtual(m, space, va, data, n, write);
}

EXPORT uint8_t *kobox_ram(struct machine *m) { return m->ram; }
EXPORT uint64_t kobox_cr3(struct machine *m) { return address_space(m); }

EXPORT void kobox_statistics(struct machine *m, uint64_t *out)
{
    memcpy(out, m->dev.exceptions, sizeof m->dev.exceptions);
    out[32] = m->dev.interrupts;
    out[33] = m->dev.syscalls;
    out[34] = m->blocks;
}

/* ---- where the state is ----------------------------------------------------------------------------------------------------- */
enum { ENGINE = 4096, OBJECT = MOST_PEEKED }; /* how much is looked at of uc_engine, and of what may be the CPU object */

void env_load(struct machine *m) { m->api.context_save(m->uc, m->context); }

void env_store(struct machine *m)
{
    m->api.context_restore(m->uc, m->context);
    refresh(m);
}

void with_cpu_kept(struct machine *m, void (*action)(struct machine *))
{
    env_load(m);
    memcpy(m->saved, m->env, m->env_size);
    action(m);
    memcpy(m->env, m->saved, m->env_size);
    env_store(m);
}

static const mark_t marks[4] = {(mark_t)0x1122334455667788, (mark_t)0x99AABBCCDDEEFF01, (mark_t)0x1357924680ACEBDF,
                                (mark_t)0xFEDCBA9876543210};

/* Whether the CPU's own state is at `env`: the registers that are reached directly are where they should be. */
static bool is_cpu(struct machine *m, uint8_t *env)
{
    mark_t again = (mark_t)0x0807060504030201;
    m->api.reg_write(m->uc, FIRST_MARKED, &again);
    return !memcmp(env + AT_MARKS, &again, sizeof again) && has_fields(m, env);
}

/* The first fields of uc_engine hold a pointer to the CPU object, and that holds its state. */
static bool find_cpu(struct machine *m)
{
    uint8_t engine[ENGINE], *object = malloc(OBJECT);
    size_t size = peek((const uint8_t *)m->uc, engine, ENGINE);
    for (size_t n = 0; object && !m->cpu && n + 8 <= size; n += 8) {
        uint64_t candidate;
        memcpy(&candidate, engine + n, 8);
        if (candidate < 1 << 16 || candidate >> 48 || candidate & 15)
            continue;
        size_t got = peek((const uint8_t *)candidate, object, OBJECT);
        for (size_t at = AT_MARKS; !m->cpu && at + AT_LAST + 8 <= got; at += sizeof(mark_t)) {
            uint8_t *env = (uint8_t *)candidate + at - AT_MARKS;
            if (memcmp(object + at, marks, sizeof marks))
                continue;
            if (is_cpu(m, env))
                m->cpu = env;
            else
                m->api.reg_write(m->uc, FIRST_MARKED, &marks[0]);
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
        m->api.reg_write(m->uc, FIRST_MARKED + n, &marks[n]);
    env_load(m);
    size_t size = m->api.context_size(m->uc);
    for (size_t at = AT_MARKS; at + AT_LAST + 8 < size && at < 512; at += sizeof(mark_t)) {
        if (memcmp((uint8_t *)m->context + at, marks, sizeof marks))
            continue;
        m->env = (uint8_t *)m->context + at - AT_MARKS;
        m->env_size = size - (at - AT_MARKS);
        m->saved = malloc(m->env_size);
        return m->saved && find_cpu(m);
    }
    return false;
}
