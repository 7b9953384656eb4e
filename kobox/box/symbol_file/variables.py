"""Variables of the kernel and their types: BTF has none for most of them."""

from __future__ import annotations

# Variables of the kernel by the types that its source gives them. Those that a kernel does not have are left out, and
# so are those whose type it does not have: what drgn's helpers, gdb's scripts and crash ask for.
_TYPES = {
    "struct list_head": "modules slab_caches super_blocks net_namespace_list vmap_area_list workqueues pci_root_buses "
    "block_class_list crypto_alg_list cpuhp_hp_states",
    "struct task_struct": "init_task",
    "struct mm_struct": "init_mm",
    "struct pid_namespace": "init_pid_ns",
    "struct net": "init_net",
    "struct nsproxy": "init_nsproxy",
    "struct uts_namespace": "init_uts_ns",
    "struct ipc_namespace": "init_ipc_ns",
    "struct time_namespace": "init_time_ns",
    "struct user_namespace": "init_user_ns",
    "struct cgroup_root": "cgrp_dfl_root",
    "struct mod_tree_root": "mod_tree",
    "struct task_group": "root_task_group",
    "struct rb_root": "vmap_area_root",
    "struct vmap_node *": "vmap_nodes",
    "struct tk_data [3]": "timekeeper_data",
    "struct printk_ringbuffer *": "prb",
    "struct mem_section **": "mem_section",
    "struct kset *": "slab_kset class_kset bus_kset devices_kset module_kset",
    "struct kernfs_node *": "sysfs_root_kn",
    "struct super_block *": "blockdev_superblock",
    "struct kobj_map *": "cdev_map",
    "struct class": "block_class net_class tty_class",
    "struct bus_type": "pci_bus_type platform_bus_type memory_subsys",
    "struct resource": "iomem_resource ioport_resource",
    "struct xarray": "irq_desc_tree",
    "struct maple_tree": "sparse_irqs",
    "struct idr": "link_idr prog_idr map_idr btf_idr",
    "struct hlist_head [128]": "uidhash_table",
    "struct char_device_struct *[255]": "chrdevs",
    "struct pglist_data *[1024]": "node_data",
    "struct cpumask": "__cpu_online_mask __cpu_possible_mask __cpu_present_mask __cpu_active_mask",
    "nodemask_t [6]": "node_states",
    "atomic_long_t": "_totalram_pages nr_swap_pages",
    "atomic_long_t [64]": "vm_zone_stat vm_node_stat vm_numa_event",
    "struct percpu_counter": "vm_committed_as",
    "struct memblock": "memblock",
    "struct hstate [2]": "hstates",
    "u64": "jiffies_64",
    "unsigned long": "jiffies vmap_zone_size tainted_mask total_swap_pages max_pfn max_low_pfn min_low_pfn",
    "unsigned long [3]": "avenrun",
    "unsigned long [1024]": "__per_cpu_offset",
    "unsigned char [4]": "mt_slots mt_pivots",
    "unsigned int": "nr_node_ids nr_cpu_ids nr_swapfiles",
    "int": "nr_irqs nr_vmap_nodes total_nr_irqs hugetlb_max_hstate sysctl_overcommit_memory "
    "sysctl_overcommit_ratio panic_on_oops",
    "char *": "saved_command_line",
    "char [256]": "linux_banner",
    "struct kmem_cache *": "task_struct_cachep thread_stack_cache filp_cachep dentry_cache inode_cachep",
    "enum system_states": "system_state",
}
VARIABLES = {name: kind for kind, names in _TYPES.items() for name in names.split()}
"""The type of each variable, as C writes it: a name, stars, and the length of an array."""
