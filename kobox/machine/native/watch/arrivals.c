/* A function that there are rules for is reached. */
#include "watch.h"

void watch_reached(struct machine *m, struct rule *rule)
{
    bool from_module = watch_called_from_module(m);
    if (from_module && rule->memory.address && apply_memory_rule(m, &rule->memory))
        return; /* it has not begun: nothing is freed or locked yet */
    for (size_t n = 0; n < CONTEXT_RULES && rule->context[n].address; n++)
        context_reached(m, &rule->context[n], from_module);
    if (rule->allocation.address)
        allocation_reached(m, &rule->allocation, from_module);
}
