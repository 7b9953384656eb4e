/* The functions of libunicorn that the machine uses, found when the first machine is made (unicorn_api.c). */
#ifndef KOBOX_UNICORN_API_H
#define KOBOX_UNICORN_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <unicorn/unicorn.h>

struct unicorn_api {
    uc_err (*open)(uc_arch, uc_mode, uc_engine **);
    uc_err (*close)(uc_engine *);
    uc_err (*ctl)(uc_engine *, uc_control_type, ...);
    uc_err (*map_ptr)(uc_engine *, uint64_t, uint64_t, uint32_t, void *);
    uc_err (*mmio_map)(uc_engine *, uint64_t, uint64_t, uc_cb_mmio_read_t, void *, uc_cb_mmio_write_t, void *);
    uc_err (*hook_add)(uc_engine *, uc_hook *, int, void *, void *, uint64_t, uint64_t, ...);
    uc_err (*hook_del)(uc_engine *, uc_hook);
    uc_err (*emu_start)(uc_engine *, uint64_t, uint64_t, uint64_t, size_t);
    uc_err (*emu_stop)(uc_engine *);
    uc_err (*reg_read)(uc_engine *, int, void *);
    uc_err (*reg_write)(uc_engine *, int, const void *);
    uc_err (*context_alloc)(uc_engine *, uc_context **);
    uc_err (*context_free)(uc_context *);
    uc_err (*context_save)(uc_engine *, uc_context *);
    uc_err (*context_restore)(uc_engine *, uc_context *);
    size_t (*context_size)(uc_engine *);
    const char *(*strerror)(uc_err);
};

/* Fill in the table from the library at this path. False: see dlerror(), or it lacks a function. The library stays loaded
 * for as long as the process lives: all machines share it. */
bool load_unicorn(struct unicorn_api *api, const char *library, const char **reason);

#endif
