/* Loading libunicorn: its path is known only at run time (inside the `unicorn` Python package). */
#include "machine.h"

#include <dlfcn.h>

bool load_unicorn(struct unicorn_api *a, const char *library, const char **reason)
{
    void *handle = dlopen(library, RTLD_LAZY | RTLD_LOCAL);
    if (!handle) {
        *reason = dlerror();
        return false;
    }
    struct { const char *name; void *where; } wanted[] = {
        {"uc_open", &a->open}, {"uc_close", &a->close}, {"uc_ctl", &a->ctl}, {"uc_mem_map_ptr", &a->map_ptr},
        {"uc_mmio_map", &a->mmio_map}, {"uc_hook_add", &a->hook_add}, {"uc_hook_del", &a->hook_del},
        {"uc_emu_start", &a->emu_start}, {"uc_emu_stop", &a->emu_stop}, {"uc_reg_read", &a->reg_read},
        {"uc_reg_write", &a->reg_write}, {"uc_context_alloc", &a->context_alloc}, {"uc_context_free", &a->context_free},
        {"uc_context_save", &a->context_save}, {"uc_context_restore", &a->context_restore},
        {"uc_context_size", &a->context_size}, {"uc_strerror", &a->strerror},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        void *found = dlsym(handle, wanted[i].name);
        if (!found) {
            *reason = wanted[i].name;
            return false;
        }
        memcpy(wanted[i].where, &found, sizeof found);
    }
    return true;
}

/* Load libunicorn ahead of the first machine: it takes longer than all else that a machine needs. */
EXPORT void kobox_preload(const char *library) { dlopen(library, RTLD_LAZY | RTLD_LOCAL); }
