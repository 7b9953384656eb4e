/* Two 8259A interrupt controllers, the second on input 2 of the first (Intel 8259A data sheet). */
#include "machine.h"

void pic_line(struct machine *m, int irq, bool level)
{
    struct pic *p = &m->dev.pic[irq >> 3];
    uint8_t bit = 1 << (irq & 7);
    if (level && !(p->lines & bit))
        p->irr |= bit;
    if (!level)
        p->irr &= ~bit;
    p->lines = level ? p->lines | bit : p->lines & ~bit;
    if (level)
        kick(m);
}

void pic_pulse(struct machine *m, int irq)
{
    m->dev.pic[irq >> 3].irr |= 1 << (irq & 7);
    kick(m);
}

/* An input that is level triggered (ELCR): it asks for an interrupt as long as it is high. */
void pic_level(struct machine *m, int irq, bool level)
{
    struct pic *p = &m->dev.pic[irq >> 3];
    uint8_t bit = 1 << (irq & 7);
    p->lines = level ? p->lines | bit : p->lines & ~bit;
    kick(m);
}

static int pic_highest(const struct pic *p)
{
    uint8_t waiting = (p->irr | (p->lines & p->level)) & ~p->imr;
    for (int i = 0; i < 8; i++) {
        if (p->isr & 1 << i)
            return -1;
        if (waiting & 1 << i)
            return i;
    }
    return -1;
}

int pic_pending(struct machine *m)
{
    if (pic_highest(&m->dev.pic[1]) >= 0)
        m->dev.pic[0].irr |= 4;
    return pic_highest(&m->dev.pic[0]);
}

int pic_acknowledge(struct machine *m)
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

uint8_t pic_read(const struct machine *m, int chip, int a0)
{
    const struct pic *p = &m->dev.pic[chip];
    return a0 ? p->imr : p->read_isr ? p->isr : p->irr;
}

void pic_write(struct machine *m, int chip, int a0, uint8_t value)
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
            kick(m);
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
        kick(m);
    }
}
