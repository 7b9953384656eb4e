/* A list of numbers that grows. */
#include "machine.h"

bool list_add(struct list *list, uint64_t item, size_t most)
{
    if (list->count >= most)
        return false;
    if (list->count == list->room) {
        size_t room = list->room ? 2 * list->room : 64;
        uint64_t *items = realloc(list->items, room * sizeof *items);
        if (!items)
            return false;
        list->items = items;
        list->room = room;
    }
    list->items[list->count++] = item;
    return true;
}

void list_free(struct list *list)
{
    free(list->items);
    *list = (struct list){0};
}
