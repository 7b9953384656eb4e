/* An 8254 timer: channel 0 is IRQ 0; channel 2 is there for those who measure with it (Intel 8254 data sheet). */
#include "machine.h"

#define PIT_HZ 1193182ull

static uint64_t pit_period(const struct pit *p)
{
    return (p->reload ? p->reload : 65536ull) * 1000000000ull / PIT_HZ;
}

static uint16_t pit_count(const struct machine *m, const struct pit *p)
{
    uint64_t ticks = (now(m) - p->start) * PIT_HZ / 1000000000ull, reload = p->reload ? p->reload : 65536ull;
    if (p->mode == 2 || p->mode == 3)
        return reload - ticks % reload;
    return reload - ticks;
}

void pit_write(struct machine *m, int channel, uint8_t value)
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
    kick(m);
}

uint8_t pit_read(struct machine *m, int channel)
{
    struct pit *p = &m->dev.pit[channel];
    uint16_t count = p->latched ? p->latch : pit_count(m, p);
    p->latch_state ^= 1;
    if (p->latch_state)
        return count;
    p->latched = 0;
    return count >> 8;
}

void pit_control(struct machine *m, uint8_t value)
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
    kick(m);
}

/* Channel 2's output: high once a one-shot has run out. */
bool pit_output2(const struct machine *m)
{
    const struct pit *p = &m->dev.pit[2];
    return p->mode == 0 ? now(m) - p->start >= pit_period(p) : (now(m) - p->start) % pit_period(p) * 2 < pit_period(p);
}

void pit_raise_due(struct machine *m)
{
    struct pit *p = &m->dev.pit[0];
    if (!p->expiry || p->expiry > m->dev.time)
        return;
    p->expiry = p->mode == 2 || p->mode == 3 ? p->expiry + pit_period(p) : 0;
    if (p->expiry)
        p->start = p->expiry - pit_period(p);
    pic_pulse(m, 0);
}

/* A timer whose interrupt is masked wakes nobody. */
uint64_t pit_next_due(const struct machine *m) { return m->dev.pic[0].imr & 1 ? 0 : m->dev.pit[0].expiry; }
