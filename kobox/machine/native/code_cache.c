/*
 * Which of Unicorn's translations are out of date. Unicorn notices a write to a page that it has translated code from, but not a
 * change by another way: through a second mapping, by a device, by a restored checkpoint. Such pages are collected and dropped
 * together, when the CPU is not inside a translation.
 */
#include "processor.h"

/*
 * Drop the translations of pages of RAM. Unicorn's call for it takes a virtual address of the current mode, and gives up
 * where that cannot be executed; with paging off the address is the physical one, and every page can be.
 */
static void drop_pages(struct machine *m)
{
    for (size_t i = 0; i < m->stale.count; i++) {
        uint64_t page = m->stale.items[i];
        m->api.ctl(m->uc, UC_CTL_WRITE(UC_CTL_TB_REMOVE_CACHE, 2), page * PAGE, (page + 1) * PAGE);
    }
}

/*
 * Deleting a hook looks its address up in the page tables as the CPU does: where nothing is mapped any more, as in a module's
 * init code, that leaves a page fault behind in the CPU's state, which therefore is put back as it was.
 */
static void delete_hooks(struct machine *m)
{
    while (m->gone.count)
        m->api.hook_del(m->uc, m->gone.items[--m->gone.count]);
}

/* Drop whatever is out of date. Not from inside a hook: the CPU must not be inside a translation. */
void drop_stale(struct machine *m)
{
    if (m->gone.count)
        with_cpu_kept(m, delete_hooks);
    if (m->all_stale)
        m->api.ctl(m->uc, UC_CTL_WRITE(UC_CTL_TB_FLUSH, 0));
    else if (m->stale.count)
        with_paging_off(m, drop_pages);
    m->all_stale = false;
    m->stale.count = 0;
}

/* The translations of a page are out of date from now on. */
void drop_code_page(struct machine *m, uint64_t page)
{
    clear_bit(m->code_pages, page);
    if (!m->all_stale && !list_add(&m->stale, page, MAX_STALE))
        m->all_stale = true;
}

/* A hook that is wanted no more. Where there is no memory to remember it, it stays and finds nobody to call. */
void forget_hook(struct machine *m, uc_hook hook) { list_add(&m->gone, hook, SIZE_MAX); }

/* The translations of the page at a virtual address are out of date: they go now, or, from inside a hook, before the next block. */
void drop_code_at(struct machine *m, uint64_t va)
{
    uint64_t pa = walk(m, address_space(m), va, READ), page = pa / PAGE;
    if (pa >= m->ram_size || !bit_of(m->code_pages, page))
        return;
    drop_code_page(m, page);
    if (m->in_callback)
        kick(m);
    else
        drop_stale(m);
}

/* Code was translated from a page of RAM, where it stands at `va`. */
void remember_code(struct machine *m, uint64_t va, uint64_t page)
{
    struct list *modules = &m->module_pages;
    set_bit(m->code_pages, page);
    if (is_module_code(va) && (!modules->count || modules->items[modules->count - 1] != page))
        m->lost_module_page |= !list_add(modules, page, MAX_MODULE_PAGES);
    if (!is_program_code(va) || bit_of(m->user_bits, page))
        return;
    if (m->user_page_count == MAX_USER_PAGES) {
        m->lost_user_page = true;
        return;
    }
    set_bit(m->user_bits, page);
    m->user_pages[m->user_page_count++] = (struct user_page){page, kobox_sum(m->ram + page * PAGE, PAGE)};
}

/*
 * A module is about to be loaded. Newer kernels write its code through another mapping than the one it runs at, which
 * Unicorn does not notice: what was translated from modules that lay there before would still run. It is all dropped.
 */
void forget_module_code(struct machine *m)
{
    if (!m->module_pages.count && !m->lost_module_page)
        return;
    m->all_stale |= m->lost_module_page;
    m->lost_module_page = false;
    while (m->module_pages.count)
        drop_code_page(m, m->module_pages.items[--m->module_pages.count]);
    kick(m);
}

/*
 * A program is about to be run, or code to be mapped. What is written by another way than it is executed by (a file's page by
 * write(2), memory mapped twice) Unicorn does not notice, and an old program's translations would run for a new one at the same
 * addresses. So the pages that code was translated from are looked at: where one has changed, its translations go.
 */
void forget_changed_code(struct machine *m)
{
    size_t kept = 0;
    bool any = m->lost_user_page;
    m->all_stale |= m->lost_user_page;
    m->lost_user_page = false;
    for (size_t i = 0; i < m->user_page_count; i++) {
        uint64_t page = m->user_pages[i].page;
        if (kobox_sum(m->ram + page * PAGE, PAGE) == m->user_pages[i].sum) {
            m->user_pages[kept++] = m->user_pages[i];
            continue;
        }
        drop_code_page(m, page);
        clear_bit(m->user_bits, page);
        any = true;
    }
    m->user_page_count = kept;
    if (any)
        kick(m);
}
