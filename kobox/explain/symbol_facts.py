"""Where well-known kernel symbols come from: a module, a CONFIG option, a range of releases, or user space.

A log names only symbols. Which module exports one is in Module.symvers where a kernel is at hand; this table is for
logs of machines that are not.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True, slots=True)
class SymbolFact:
    """What is known about symbols whose names fit one of the shell patterns `names`.

    `module` exports them, `config` is the option that the kernel needs for them; both may be "". `text` says it in a
    sentence, `advice` what to do; texts of modules are made from the names.
    """

    names: tuple[str, ...]
    module: str = ""
    config: str = ""
    text: str = ""
    advice: str = ""


def _of(module: str, config: str, *names: str) -> SymbolFact:
    return SymbolFact(
        names,
        module,
        config,
        f"the module {module} (CONFIG_{config}) exports it; {module} is not loaded, or this kernel was built "
        "without it",
        f"`modprobe {module}`, then load this module again (modprobe does both). If {module} is not found, install "
        "the package with the rest of the kernel's modules (linux-modules-extra-$(uname -r), kernel-modules-extra), "
        "or take a kernel with "
        f"CONFIG_{config}; a cloud or minimal kernel often lacks it.",
    )


def _option(config: str, what: str, *names: str) -> SymbolFact:
    return SymbolFact(
        names,
        config=config,
        text=f"it belongs to {what}: a kernel that is built without CONFIG_{config} does not have it",
        advice=f"Take a kernel with CONFIG_{config}=y (`grep CONFIG_{config} /boot/config-$(uname -r)`), and build "
        "the module against its headers.",
    )


def _driver(module: str, package: str, *names: str) -> SymbolFact:
    return SymbolFact(
        names,
        module,
        text=f"the module {module}, a part of {package}, exports it, and is not loaded",
        advice=f"`modprobe {module}` first; if it is not found, build {package} for this kernel.",
    )


def _gone(text: str, advice: str, *names: str) -> SymbolFact:
    return SymbolFact(names, text=text, advice=advice)


_REBUILD = "Build the module again against exactly the running kernel's headers."
_PORT = "Take a newer version of the module, or port it."
_OTHER_CONFIG = "the module was built for a kernel of another configuration"
FACTS = (
    # -- no longer exported, or under another name -----------------------------------------------------------------
    _gone(
        "it is not exported to modules since 5.7",
        "Call what is exported, or find the address with a kprobe (CONFIG_KPROBES); " + _PORT,
        "kallsyms_lookup_name",
        "kallsyms_on_each_symbol",
    ),
    _gone(
        "it is not exported to modules since 5.12",
        "find_module() works for built-in code only; look into /proc/modules from user space. " + _PORT,
        "find_module",
        "module_mutex",
        "each_symbol_section",
        "find_symbol",
        "ref_module",
        "__module_address",
        "__module_text_address",
    ),
    _gone(
        "the system call table is not exported (since 2.6)",
        "Use kprobes or tracepoints in place of changing it.",
        "sys_call_table",
        "ia32_sys_call_table",
    ),
    _gone(
        "it is gone since 5.0: time of day is ktime_get_real_ts64()",
        _PORT,
        "do_gettimeofday",
        "do_settimeofday",
        "getnstimeofday*",
        "current_kernel_time*",
        "get_monotonic_boottime*",
        "ktime_get_ts",
        "ktime_get_real_ts",
    ),
    _gone(
        "jprobes are gone since 4.15",
        "Use kprobes or ftrace.",
        "register_jprobe*",
        "unregister_jprobe*",
        "jprobe_return",
    ),
    _gone("it is gone since 5.6: ioremap() does the same", _PORT, "ioremap_nocache"),
    _gone(
        "it is not exported since 5.0: kernel_fpu_begin() is, for GPL modules",
        _PORT,
        "__kernel_fpu_begin",
        "__kernel_fpu_end",
    ),
    _gone("it is PDE_DATA() before 5.17 and pde_data() since", _REBUILD + " " + _PORT, "PDE_DATA", "pde_data"),
    _gone(
        "printk() is exported as printk before 5.15 and as _printk since: the module was built for another release",
        _REBUILD,
        "printk",
        "_printk",
    ),
    _gone(
        "class_create() is __class_create in the kernel before 6.4: the module was built for an older or newer release",
        _REBUILD,
        "__class_create",
        "class_create",
    ),
    _gone(
        "timers are deleted by del_timer() before 6.15 and by timer_delete() since 6.2",
        _REBUILD + " " + _PORT,
        "del_timer",
        "del_timer_sync",
        "timer_delete",
        "timer_delete_sync",
        "timer_shutdown*",
    ),
    _gone("hrtimer_init() is hrtimer_setup() since 6.15", _REBUILD + " " + _PORT, "hrtimer_init", "hrtimer_setup"),
    _gone("strlcpy() is gone since 6.8: strscpy() takes its place", _PORT, "strlcpy"),
    _gone("prandom_u32() is get_random_u32() since 6.1", _PORT, "prandom_u32", "prandom_bytes", "get_random_u32"),
    _gone(
        "it belongs to a range of releases (kmem_cache_alloc_trace before 6.1, kmalloc_trace 6.1 to 6.9, "
        "__kmalloc…_noprof since 6.10): the module was built for another release",
        _REBUILD,
        "kmem_cache_alloc_trace",
        "kmem_cache_alloc_node_trace",
        "kmalloc_trace",
        "kmalloc_node_trace",
        "kmalloc_order*",
        "*_noprof",
        "kmalloc_large*",
        "__kmalloc",
        "__kmalloc_node",
        "random_kmalloc_seed",
        "kmalloc_caches",
    ),
    _gone(
        "the checks of lists are __list_add_valid before 6.6 and __list_add_valid_or_report since, and need "
        "CONFIG_DEBUG_LIST or CONFIG_LIST_HARDENED: the module was built for another kernel",
        _REBUILD,
        "__list_add_valid*",
        "__list_del_entry_valid*",
    ),
    _gone(
        "it is for x86 kernels of another range of releases (current_task, pcpu_hot 6.2 to 6.14, "
        "const_current_task since)",
        _REBUILD,
        "current_task",
        "pcpu_hot",
        "const_pcpu_hot",
        "const_current_task",
        "this_cpu_off",
        "__preempt_count",
        "cpu_current_top_of_stack",
    ),
    _gone(
        "the name of this arm64 variable changed between releases: the module was built for another one",
        _REBUILD,
        "cpu_hwcaps",
        "system_cpucaps",
        "cpu_hwcap_keys",
        "arm64_const_caps_ready",
        "alt_cb_patch_nops",
        "arm64_use_ng_mappings",
    ),
    _gone(
        "fortify_panic() is __fortify_panic() since 6.9: the module was built for another release, or "
        "CONFIG_FORTIFY_SOURCE differs",
        _REBUILD,
        "fortify_panic",
        "__fortify_panic",
        "__fortify_report",
    ),
    _gone(
        "changing page attributes is not for modules since 5.3 or so",
        "Use a kprobe, ftrace or a livepatch in place of writing to kernel text.",
        "set_memory_rw",
        "set_memory_ro",
        "set_memory_x",
        "set_memory_nx",
        "set_pages_rw",
        "set_pages_ro",
        "init_mm",
    ),
    _gone(
        "vmalloc's inner functions are not exported since 5.8",
        "Use vmap(), vm_map_pages() or remap_vmalloc_range(). " + _PORT,
        "map_vm_area",
        "unmap_kernel_range*",
        "__vmalloc_node_range*",
        "alloc_vm_area",
        "get_vm_area",
        "ioremap_page_range",
    ),
    _gone(
        "it is not exported since 4.14: kernel_read() and kernel_write() are",
        _PORT,
        "vfs_read",
        "vfs_write",
        "sys_open",
        "sys_read",
        "sys_write",
        "sys_close",
        "sys_mkdir",
        "filp_open_block",
    ),
    _gone(
        "set_fs() is gone since 5.10 to 5.18: kernel_read() and kernel_write() take kernel memory",
        _PORT,
        "set_fs",
        "get_fs",
        "addr_limit*",
    ),
    _gone(
        "it is a function of user space's C library: a module has only the kernel's own functions",
        "Use the kernel's: pr_info(), kmalloc(), kfree(), filp_open() …",
        "printf",
        "__printf_chk",
        "puts",
        "putchar",
        "malloc",
        "calloc",
        "realloc",
        "free",
        "fopen",
        "fclose",
        "fprintf",
        "exit",
        "abort",
        "atoi",
        "__errno_location",
        "__libc_start_main",
        "__stack_chk_fail_local",
        "pthread_*",
        "socket",
        "__assert_fail",
    ),
    _gone(
        "the compiler made a call for floating point, which the kernel does not have",
        "Compute with integers (fixed point), or between kernel_fpu_begin() and kernel_fpu_end() with hardware "
        "floating point.",
        "__adddf3",
        "__subdf3",
        "__muldf3",
        "__divdf3",
        "__addsf3",
        "__subsf3",
        "__mulsf3",
        "__divsf3",
        "__fix*",
        "__float*",
        "__extendsfdf2",
        "__truncdfsf2",
        "__?edf2",
        "__?esf2",
        "__?tdf2",
        "__?tsf2",
        "__aeabi_d*",
        "__aeabi_f*",
        "__aeabi_i2d",
        "__aeabi_i2f",
        "__aeabi_ui2d",
        "__aeabi_ui2f",
        "__aeabi_l2d",
    ),
    _gone(
        "the compiler made a call for dividing 64-bit numbers, which a 32-bit kernel does not have",
        "Use do_div(), div_u64(), div64_u64() or div_s64() in place of / and %.",
        "__divdi3",
        "__udivdi3",
        "__moddi3",
        "__umoddi3",
        "__udivmoddi4",
        "__divmoddi4",
        "__aeabi_ldivmod",
        "__aeabi_uldivmod",
        "__udivti3",
        "__umodti3",
        "__aeabi_lcmp",
    ),
    _gone(
        "the compiler left position-independent code or a wrong code model",
        "Build it with Kbuild, which gives -fno-pic.",
        "_GLOBAL_OFFSET_TABLE_",
        "__gnu_local_gp",
        "_gp_disp",
        "__tls_get_addr",
    ),
    # -- what a configuration has or has not ------------------------------------------------------------------------
    _option(
        "KPROBES",
        "kprobes",
        "register_kprobe*",
        "unregister_kprobe*",
        "register_kretprobe*",
        "unregister_kretprobe*",
        "*able_kprobe",
        "kprobe_*",
    ),
    _gone(
        f"it belongs to unwinding on 32-bit ARM: {_OTHER_CONFIG} (CONFIG_ARM_UNWIND)",
        _REBUILD,
        "__aeabi_unwind_cpp_pr*",
    ),
    _option("UPROBES", "uprobes", "uprobe_*"),
    _option("LIVEPATCH", "livepatches", "klp_*"),
    _gone(
        f"it is a call for function tracing: {_OTHER_CONFIG} (CONFIG_FUNCTION_TRACER)",
        "Take a kernel with CONFIG_FUNCTION_TRACER, or build the module against exactly this kernel's headers.",
        "__fentry__",
        "mcount",
        "_mcount",
        "__gnu_mcount_nc",
        "ftrace_caller",
        "ftrace_stub",
    ),
    _option(
        "FUNCTION_TRACER",
        "ftrace",
        "register_ftrace_function",
        "unregister_ftrace_function",
        "ftrace_set_filter*",
        "ftrace_*",
    ),
    _gone(
        "it is a return thunk, the mitigation of Retbleed and SRSO: this kernel is older or was built without it; "
        f"{_OTHER_CONFIG} (CONFIG_RETHUNK, CONFIG_MITIGATION_RETHUNK)",
        _REBUILD,
        "__x86_return_thunk",
        "__x86_return_skl",
        "retbleed_*",
        "srso_*",
        "its_return_thunk",
        "__x86_indirect_its*",
    ),
    _gone(
        "it is a retpoline, the mitigation of Spectre v2: this kernel is older or was built without it; "
        f"{_OTHER_CONFIG} (CONFIG_RETPOLINE, CONFIG_MITIGATION_RETPOLINE)",
        _REBUILD,
        "__x86_indirect_*",
        "__x86_retpoline_*",
        "clear_bhb_loop",
    ),
    _gone(
        f"it belongs to the compiler's stack protector: {_OTHER_CONFIG} (CONFIG_STACKPROTECTOR)",
        _REBUILD,
        "__stack_chk_fail",
        "__stack_chk_guard",
        "__ref_stack_chk_guard",
    ),
    _gone(
        f"it is a call of KASAN: {_OTHER_CONFIG} (CONFIG_KASAN)",
        _REBUILD,
        "__asan_*",
        "__kasan_*",
        "kasan_*",
        "__hwasan_*",
    ),
    _gone(f"it is a call of UBSAN: {_OTHER_CONFIG} (CONFIG_UBSAN)", _REBUILD, "__ubsan_*"),
    _gone(f"it is a call of KCSAN: {_OTHER_CONFIG} (CONFIG_KCSAN)", _REBUILD, "__tsan_*", "__kcsan_*"),
    _gone(f"it is a call of KMSAN: {_OTHER_CONFIG} (CONFIG_KMSAN)", _REBUILD, "__msan_*"),
    _gone(
        f"it is a call for coverage: {_OTHER_CONFIG} (CONFIG_KCOV, CONFIG_GCOV_KERNEL)",
        _REBUILD,
        "__sanitizer_cov_*",
        "__gcov_*",
        "llvm_gcov_*",
        "__llvm_profile_*",
    ),
    _gone(
        f"it belongs to control flow integrity: {_OTHER_CONFIG} (CONFIG_CFI_CLANG, with clang)",
        _REBUILD,
        "__cfi_*",
        "cfi_*",
        "__kcfi_*",
    ),
    _gone(
        f"it is a call of lock debugging: {_OTHER_CONFIG} (CONFIG_LOCKDEP: a debug kernel)",
        _REBUILD,
        "lock_acquire",
        "lock_release",
        "lockdep_*",
        "lock_is_held*",
        "mutex_lock_*nested*",
        "_raw_spin_lock_*nested*",
        "down_*_nested",
        "debug_lockdep*",
        "debug_lock*",
        "rcu_lock_map",
        "rcu_read_lock_held*",
        "__might_sleep*",
        "__might_resched",
        "__might_fault",
        "_raw_*_nested",
    ),
    _gone(
        f"it belongs to preemption: {_OTHER_CONFIG} (CONFIG_PREEMPT, CONFIG_PREEMPT_DYNAMIC, CONFIG_TRACE_IRQFLAGS)",
        _REBUILD,
        "preempt_schedule*",
        "__SCT__*",
        "__SCK__*",
        "__cond_resched",
        "preempt_count_*",
        "trace_hardirqs_*",
        "rt_spin_*",
        "rt_mutex_*",
        "migrate_disable",
        "migrate_enable",
    ),
    _gone(
        f"it belongs to spinlocks: {_OTHER_CONFIG} (CONFIG_SMP, CONFIG_DEBUG_SPINLOCK, CONFIG_PREEMPT_RT)",
        _REBUILD,
        "_raw_spin_*",
        "_raw_read_*",
        "_raw_write_*",
        "_spin_*",
        "_read_lock*",
        "_write_lock*",
        "__raw_spin_lock_init",
        "__rwlock_init",
    ),
    _gone(
        f"it belongs to paravirtualisation: {_OTHER_CONFIG} (CONFIG_PARAVIRT, CONFIG_XEN)",
        _REBUILD,
        "pv_*",
        "paravirt_*",
        "xen_*",
        "hypercall_page",
        "HYPERVISOR_*",
    ),
    _gone(
        f"CONFIG_MODULE_UNLOAD differs: {_OTHER_CONFIG}",
        _REBUILD,
        "module_put",
        "try_module_get",
        "__module_get",
        "__module_put_and_*exit",
        "module_refcount",
    ),
    _gone(
        f"it belongs to user memory checks: {_OTHER_CONFIG} (CONFIG_HARDENED_USERCOPY)",
        _REBUILD,
        "__check_object_size",
        "__copy_overflow",
        "usercopy_*",
    ),
    _option("PERF_EVENTS", "perf events", "perf_*"),
    _option("DEBUG_FS", "debugfs", "debugfs_*"),
    _option("NETFILTER", "netfilter's hooks", "nf_register_*hook*", "nf_unregister_*hook*", "nf_hook_slow"),
    _option("BPF_SYSCALL", "BPF", "bpf_*", "register_btf_kfunc*"),
    _option(
        "TRACEPOINTS",
        "tracepoints",
        "__tracepoint_*",
        "__traceiter_*",
        "tracepoint_*",
        "for_each_kernel_tracepoint",
        "trace_event_*",
        "event_triggers_call",
        "bpf_trace_run*",
    ),
    _option("OF", "the device tree", "of_*"),
    _option(
        "IPV6",
        "IPv6 (the module ipv6, or built in)",
        "ipv6_*",
        "ip6_*",
        "inet6_*",
        "in6_*",
        "fib6_*",
        "icmpv6_*",
        "__ipv6_*",
        "addrconf_*",
    ),
    _option("COMMON_CLK", "clocks", "clk_*", "devm_clk_*", "of_clk_*"),
    _option("REGULATOR", "regulators", "regulator_*", "devm_regulator_*"),
    _option(
        "GPIOLIB", "GPIO lines", "gpiod_*", "devm_gpiod_*", "gpiochip_*", "gpio_to_desc", "gpio_request*", "gpio_free*"
    ),
    _option("PWM", "PWM", "pwm_*", "devm_pwm_*"),
    _option(
        "DMA_SHARED_BUFFER",
        "shared DMA buffers (namespace DMA_BUF since 5.16)",
        "dma_buf_*",
        "dma_fence_*",
        "dma_resv_*",
        "sync_file_*",
    ),
    _option(
        "DMA_ENGINE", "DMA engines", "dma_request_*chan*", "dma_async_*", "dma_release_channel", "dma_find_channel"
    ),
    _option("RELAY", "relay files", "relay_*"),
    _option("KALLSYMS", "symbol look-up", "sprint_symbol*", "kallsyms_*"),
    _option(
        "HAVE_HW_BREAKPOINT",
        "hardware breakpoints",
        "register_wide_hw_breakpoint",
        "unregister_wide_hw_breakpoint",
        "register_user_hw_breakpoint",
    ),
    _option("CPU_FREQ", "frequency scaling", "cpufreq_*"),
    _option("SUSPEND", "suspend", "pm_suspend_*", "register_pm_notifier", "unregister_pm_notifier"),
    _option(
        "FB",
        "frame buffers",
        "register_framebuffer",
        "unregister_framebuffer",
        "framebuffer_*",
        "fb_*",
        "cfb_*",
        "sys_fillrect",
        "sys_copyarea",
        "sys_imageblit",
    ),
    # -- modules ------------------------------------------------------------------------------------------------------
    _of("videodev", "VIDEO_DEV", "video_*", "v4l2_*", "__video_*", "v4l_*"),
    _of("videobuf2_dma_sg", "VIDEOBUF2_DMA_SG", "vb2_dma_sg_*"),
    _of("videobuf2_vmalloc", "VIDEOBUF2_VMALLOC", "vb2_vmalloc_*"),
    _of("videobuf2_dma_contig", "VIDEOBUF2_DMA_CONTIG", "vb2_dma_contig_*"),
    _of(
        "videobuf2_v4l2",
        "VIDEOBUF2_V4L2",
        "vb2_fop_*",
        "vb2_ioctl_*",
        "vb2_queue_*",
        "vb2_streamon",
        "vb2_streamoff",
        "vb2_qbuf",
        "vb2_dqbuf",
        "vb2_poll",
        "vb2_mmap",
    ),
    _of("videobuf2_common", "VIDEOBUF2_CORE", "vb2_*"),
    _of("videobuf_core", "VIDEOBUF_GEN", "videobuf_*"),
    _of("mc", "MEDIA_CONTROLLER", "media_*", "__media_*"),
    _of("dvb_core", "DVB_CORE", "dvb_*"),
    _of("rc_core", "RC_CORE", "rc_*", "ir_raw_*"),
    _of("cec", "CEC_CORE", "cec_*"),
    _of("mac80211", "MAC80211", "ieee80211_*", "__ieee80211_*", "rate_control_*"),
    _of(
        "cfg80211",
        "CFG80211",
        "cfg80211_*",
        "__cfg80211_*",
        "wiphy_*",
        "regulatory_*",
        "freq_reg_info",
        "reg_initiator_name",
    ),
    _of("lib80211", "LIB80211", "lib80211_*"),
    _of("rfkill", "RFKILL", "rfkill_*"),
    _of("bluetooth", "BT", "hci_*", "bt_*", "l2cap_*", "sco_*", "__hci_*"),
    _of("snd_soc_core", "SND_SOC", "snd_soc_*", "devm_snd_soc_*", "dapm_*"),
    _of("snd_hda_codec", "SND_HDA", "snd_hda_*"),
    _of("snd_pcm", "SND_PCM", "snd_pcm_*", "snd_dma_*", "_snd_pcm_*"),
    _of("snd_rawmidi", "SND_RAWMIDI", "snd_rawmidi_*"),
    _of("snd_timer", "SND_TIMER", "snd_timer_*"),
    _of("snd_hwdep", "SND_HWDEP", "snd_hwdep_*"),
    _of("snd", "SND", "snd_*"),
    _of("soundcore", "SOUND", "register_sound_*", "unregister_sound_*"),
    _of(
        "drm_kms_helper",
        "DRM_KMS_HELPER",
        "drm_fb_helper_*",
        "drm_atomic_helper_*",
        "drm_kms_helper_*",
        "drm_helper_*",
        "drm_crtc_helper_*",
        "drm_simple_*",
        "__drm_atomic_helper_*",
        "drm_plane_helper_*",
        "drm_gem_fb_*",
        "drm_primary_helper_*",
    ),
    _of("drm_shmem_helper", "DRM_GEM_SHMEM_HELPER", "drm_gem_shmem_*"),
    _of("drm_display_helper", "DRM_DISPLAY_HELPER", "drm_dp_*", "drm_hdmi_*", "drm_scdc_*"),
    _of("ttm", "DRM_TTM", "ttm_*"),
    _of("drm", "DRM", "drm_*", "__drm_*", "drmm_*", "devm_drm_*"),
    _of("usbserial", "USB_SERIAL", "usb_serial_*"),
    _of("usbnet", "USB_USBNET", "usbnet_*"),
    _of("usb_storage", "USB_STORAGE", "usb_stor_*"),
    _of(
        "libcomposite",
        "USB_LIBCOMPOSITE",
        "usb_composite_*",
        "usb_function_*",
        "usb_put_function*",
        "usb_get_function*",
        "usb_add_function",
        "config_ep_by_speed*",
        "usb_string_ids_*",
        "usb_gstrings_attach",
        "usb_interface_id",
    ),
    _of("udc_core", "USB_GADGET", "usb_gadget_*", "usb_ep_*", "usb_add_gadget*", "usb_del_gadget*"),
    _of("usbcore", "USB", "usb_*", "__usb_*", "usbdev_*"),
    _of("typec", "TYPEC", "typec_*"),
    _of("hid", "HID", "hid_*", "__hid_*", "hidinput_*"),
    _of("industrialio", "IIO", "iio_*", "devm_iio_*", "__iio_*", "__devm_iio_*"),
    _of("i2c_core", "I2C", "i2c_*", "__i2c_*", "devm_i2c_*"),
    _of("spi", "SPI", "spi_*", "__spi_*", "devm_spi_*"),
    _of("mmc_core", "MMC", "mmc_*", "sdio_*", "__mmc_*"),
    _of("mtd", "MTD", "mtd_*", "add_mtd_*", "del_mtd_*", "get_mtd_*"),
    _of("libphy", "PHYLIB", "phy_*", "mdiobus_*", "genphy_*", "__mdiobus_*", "mdio_*"),
    _of("phylink", "PHYLINK", "phylink_*"),
    _of("mii", "MII", "mii_*", "generic_mii_ioctl"),
    _of("can_dev", "CAN_DEV", "*candev*", "can_*", "alloc_can_*", "alloc_canfd_*", "close_candev"),
    _of("nf_conntrack", "NF_CONNTRACK", "nf_ct_*", "nf_conntrack_*", "__nf_ct_*"),
    _of("nf_nat", "NF_NAT", "nf_nat_*"),
    _of("nf_tables", "NF_TABLES", "nft_*"),
    _of("x_tables", "NETFILTER_XTABLES", "xt_*"),
    _of("ip_tables", "IP_NF_IPTABLES", "ipt_*"),
    _of("nfnetlink", "NETFILTER_NETLINK", "nfnetlink_*", "nfnl_*"),
    _of("bridge", "BRIDGE", "br_*"),
    _of("8021q", "VLAN_8021Q", "vlan_*", "__vlan_*"),
    _of("udp_tunnel", "NET_UDP_TUNNEL", "udp_tunnel_*", "udp_tunnel6_*", "setup_udp_tunnel_sock", "udp_sock_create*"),
    _of("ip6_udp_tunnel", "IPV6", "udp_tunnel6_xmit_skb", "udp_sock_create6"),
    _of("ip_tunnel", "NET_IP_TUNNEL", "ip_tunnel_*"),
    _of("ppp_generic", "PPP", "ppp_*"),
    _of("pppox", "PPPOE", "pppox_*"),
    _of("slhc", "SLHC", "slhc_*"),
    _of("scsi_transport_sas", "SCSI_SAS_ATTRS", "sas_*"),
    _of("scsi_transport_fc", "SCSI_FC_ATTRS", "fc_*"),
    _of("scsi_transport_iscsi", "SCSI_ISCSI_ATTRS", "iscsi_*"),
    _of("scsi_mod", "SCSI", "scsi_*", "__scsi_*"),
    _of("libata", "ATA", "ata_*", "sata_*", "ahci_*"),
    _of("nvme_core", "NVME_CORE", "nvme_*"),
    _of("target_core_mod", "TARGET_CORE", "target_*", "transport_*", "core_tpg_*"),
    _of("dm_persistent_data", "DM_PERSISTENT_DATA", "dm_btree_*", "dm_bm_*", "dm_tm_*", "dm_sm_*", "dm_block_*"),
    _of("dm_bufio", "DM_BUFIO", "dm_bufio_*"),
    _of("dm_bio_prison", "DM_BIO_PRISON", "dm_cell_*", "dm_bio_prison_*", "dm_get_cell*", "dm_deferred_*"),
    _of("dm_mod", "BLK_DEV_DM", "dm_*"),
    _of("md_mod", "BLK_DEV_MD", "md_*", "mddev_*"),
    _of("raid6_pq", "RAID6_PQ", "raid6_*"),
    _of("xor", "XOR_BLOCKS", "xor_blocks"),
    _of("kvm", "KVM", "kvm_*", "__kvm_*", "gfn_to_*"),
    _of("vhost", "VHOST", "vhost_*"),
    _of("virtio_ring", "VIRTIO", "virtqueue_*", "vring_*"),
    _of("virtio", "VIRTIO", "virtio_*", "register_virtio_*", "unregister_virtio_*"),
    _of("vfio", "VFIO", "vfio_*"),
    _of("mdev", "VFIO_MDEV", "mdev_*"),
    _of("ib_core", "INFINIBAND", "ib_*", "rdma_*", "__ib_*", "ibdev_*"),
    _of("mlx5_core", "MLX5_CORE", "mlx5_*"),
    _of("sunrpc", "SUNRPC", "rpc_*", "svc_*", "xdr_*"),
    _of("nfs", "NFS_FS", "nfs_*"),
    _of("jbd2", "JBD2", "jbd2_*"),
    _of("fscache", "FSCACHE", "fscache_*", "__fscache_*"),
    _of("netfs", "NETFS_SUPPORT", "netfs_*"),
    _of("fuse", "FUSE_FS", "fuse_*"),
    _of("fat", "FAT_FS", "fat_*"),
    _of("lockd", "LOCKD", "lockd_*", "nlm*"),
    _of("cryptd", "CRYPTO_CRYPTD", "cryptd_*"),
    _of("crypto_simd", "CRYPTO_SIMD", "simd_*"),
    _of("libcrc32c", "LIBCRC32C", "crc32c"),
    _of("zstd_compress", "ZSTD_COMPRESS", "ZSTD_*", "zstd_*"),
    _of("lz4_compress", "LZ4_COMPRESS", "LZ4_compress*"),
    _of("lzo_compress", "LZO_COMPRESS", "lzo1x_*"),
    _of("libarc4", "CRYPTO_LIB_ARC4", "arc4_*"),
    _of("video", "ACPI_VIDEO", "acpi_video_*"),
    _of("wmi", "ACPI_WMI", "wmi_*", "__wmi_*"),
    _of("sparse_keymap", "INPUT_SPARSEKMAP", "sparse_keymap_*"),
    _of("platform_profile", "ACPI_PLATFORM_PROFILE", "platform_profile_*", "devm_platform_profile_*"),
    _of("battery", "ACPI_BATTERY", "battery_hook_*"),
    _of("hwmon", "HWMON", "hwmon_*", "devm_hwmon_*"),
    _of("parport", "PARPORT", "parport_*"),
    _of("comedi", "COMEDI", "comedi_*"),
    _of("firewire_core", "FIREWIRE", "fw_*"),
    _of("pcmcia", "PCMCIA", "pcmcia_*"),
    _of("ptp", "PTP_1588_CLOCK", "ptp_*"),
    _of("ssb", "SSB", "ssb_*"),
    _of("bcma", "BCMA", "bcma_*"),
    _of("backlight", "BACKLIGHT_CLASS_DEVICE", "backlight_*", "devm_backlight_*"),
    _of("led_class", "LEDS_CLASS", "led_*", "devm_led_*"),
    _of("input_core", "INPUT", "input_*", "devm_input_*"),
    _of("uio", "UIO", "uio_*", "__uio_*", "__devm_uio_*"),
    _of("tpm", "TCG_TPM", "tpm_*"),
    _of("ipmi_msghandler", "IPMI_HANDLER", "ipmi_*"),
    _of("gpio_generic", "GPIO_GENERIC", "bgpio_*"),
    _of("configfs", "CONFIGFS_FS", "configfs_*", "config_group_*", "config_item_*"),
    _of("zsmalloc", "ZSMALLOC", "zs_*"),
    _of("tun", "TUN", "tun_*"),
    _of("ipip", "NET_IPIP", "ipip_*"),
    _driver("spl", "ZFS", "spl_*", "taskq_*"),
    _driver("nvidia", "the NVIDIA driver", "nvidia_*", "nvUvm*"),
    _driver("vboxdrv", "VirtualBox", "SUPR0*", "RT*R0*"),
    # -- options of whole buses, after the modules on them -----------------------------------------------------
    _option("PCI", "PCI", "pci_*", "pcim_*", "pcie_*", "__pci_*"),
    _option("ACPI", "ACPI", "acpi_*", "__acpi_*"),
    _option("NET", "networking", "register_netdev*", "alloc_etherdev*", "netif_*", "skb_*", "__skb_*", "dev_*_skb"),
)


@cache
def _exact() -> dict[str, SymbolFact]:
    names: dict[str, SymbolFact] = {}
    for fact in FACTS:
        for name in fact.names:
            if not set(name) & set("*?["):
                names.setdefault(name, fact)
    return names


def fact_of(symbol: str) -> SymbolFact | None:
    """What is known about a symbol, or None. Exact names count before patterns, early rows before later ones."""
    found = _exact().get(symbol)
    if found is not None:
        return found
    return next(
        (
            fact
            for fact in FACTS
            for name in fact.names
            if "*" in name or "?" in name
            if fnmatch.fnmatchcase(symbol, name)
        ),
        None,
    )


def grouped(symbols: Sequence[str]) -> Iterator[tuple[SymbolFact | None, tuple[str, ...]]]:
    """Symbols put together by what is known about them, in the order in which they come."""
    groups: dict[SymbolFact | None, list[str]] = {}
    for symbol in dict.fromkeys(symbols):
        groups.setdefault(fact_of(symbol), []).append(symbol)
    for fact, names in groups.items():
        yield fact, tuple(names)


def listed(symbols: Sequence[str], most: int = 4) -> str:
    """Symbols in a sentence: `a, b and 38 more`."""
    names = list(dict.fromkeys(symbols))
    if len(names) > most:
        return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]])) if names else ""
