/* The CMOS clock: BCD, 24 hours (Motorola MC146818 data sheet). */
#include "machine.h"

static uint8_t bcd(unsigned n) { return n / 10 << 4 | n % 10; }

uint8_t rtc_read(const struct machine *m)
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
