/* The firmware, and the time (RISC-V Supervisor Binary Interface 2.0). */
#include "cpu.h"

enum { BASE = 0x10, TIME = 0x54494D45, IPI = 0x735049, REMOTE_FENCE = 0x52464E43, RESET = 0x53525354, CONSOLE = 0x4442434E };
enum { NOT_SUPPORTED = -2 };
enum { FENCE_I = 0 };

uint64_t read_time(struct machine *m) { return read_clock(m) / NS_PER_TICK; }

static void write_console(struct machine *m, uint64_t size, uint64_t at)
{
    for (uint64_t n = 0; n < size && n < PAGE && at < m->ram_size && at + n < m->ram_size; n++)
        m->console[m->console_written++ % CONSOLE_SIZE] = (char)m->ram[at + n];
}

static int64_t base(uint64_t function, uint64_t argument, uint64_t *value)
{
    enum { VERSION, IMPLEMENTATION, IMPLEMENTATION_VERSION, PROBE };
    *value = 0;
    if (function == VERSION)
        *value = 2 << 24;
    else if (function == PROBE)
        *value = argument == BASE || argument == TIME || argument == IPI || argument == REMOTE_FENCE || argument == RESET || argument == CONSOLE;
    return 0;
}

/* One CPU: what is asked of others is done at once, or is nobody's. */
static void send_interrupt(struct machine *m, uint64_t mask, uint64_t first)
{
    if (first == ~0ull || (first == 0 && mask & 1))
        *at64(m->cpu, AT_MIP) |= 1 << SOFTWARE_INTERRUPT;
    kick(m);
}

static void remote_fence(struct machine *m, uint64_t function)
{
    if (function == FENCE_I)
        m->fenced = true;
    m->flush = true;
    kick(m);
}

void call_firmware(struct machine *m)
{
    uint64_t a0 = live_reg(m, R_ARGUMENT), a1 = live_reg(m, R_ARGUMENT + 1), function = live_reg(m, 16), value = 0;
    int64_t error = 0;
    switch (live_reg(m, 17)) {
    case BASE: error = base(function, a0, &value); break;
    case TIME:
        m->dev.timer = a0;
        *at64(m->cpu, AT_MIP) &= ~(uint64_t)(1 << TIMER_INTERRUPT);
        kick(m);
        break;
    case IPI: send_interrupt(m, a0, a1); break;
    case REMOTE_FENCE: remote_fence(m, function); break;
    case CONSOLE:
        if (function == 0) {
            write_console(m, a0, a1);
            value = a0;
        } else if (function == 2) {
            m->console[m->console_written++ % CONSOLE_SIZE] = (char)a0;
        } else {
            error = NOT_SUPPORTED;
        }
        break;
    case RESET:
        m->event = EV_RESET;
        m->api.emu_stop(m->uc);
        return;
    default: error = NOT_SUPPORTED;
    }
    set_live_reg(m, R_ARGUMENT, (uint64_t)error);
    set_live_reg(m, R_ARGUMENT + 1, value);
}
