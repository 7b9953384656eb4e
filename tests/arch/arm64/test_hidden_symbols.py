"""Variables that an arm64 kernel's kallsyms does not name: what was found by its exports, its BTF and its code."""

from __future__ import annotations

import pytest

from kobox.box.boot.bare_boot import boot
from kobox.box.inspect import registries
from kobox.box.inspect.objects import Objects
from kobox.images.store import KernelImage


@pytest.fixture(scope="module")
def objects(arm64_kernel: KernelImage) -> Objects:
    return boot(arm64_kernel).inspect.objects


def test_an_exported_variable_is_what_the_kernel_says(objects: Objects) -> None:
    assert objects.text(objects.address("init_task"), "task_struct.comm") == "swapper/0"
    assert objects.text(objects.u64(objects.address("kmalloc_caches") + 8 * 8), "kmem_cache.name") == "kmalloc-256"


def test_a_per_cpu_variable_is_where_the_cpu_has_it(objects: Objects) -> None:
    current = objects.number(objects.percpu("runqueues"), "rq.curr")
    assert objects.text(current, "task_struct.comm") in ("kobox", "init", "swapper/0")


@pytest.mark.parametrize(
    ("registry", "name"),
    [
        (registries.character_devices, "character device number 1 (mem)"),
        (registries.block_devices, "block device number 259 (blkext)"),
        (registries.file_systems, "file system tmpfs"),
        (registries.netlink_families, "generic netlink family nlctrl"),
        (registries.protocols, "network protocol TCP"),
        (registries.tty_drivers, "tty driver pty_master"),
        (registries.workqueues, "workqueue events"),
        (registries.kernel_threads, "kernel thread kthreadd"),
        (registries.sysfs_directories, "/sys/module"),
        (registries.sysctls, "/proc/sys/kernel/panic"),
        (registries.proc_entries, "/proc/meminfo"),
        (registries.debugfs_entries, "/sys/kernel/debug/clk"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_what_is_registered_is_listed(objects: Objects, registry: object, name: str) -> None:
    assert callable(registry)
    assert name in [found for _, found in registry(objects)]


@pytest.mark.parametrize("registry", [registries.link_kinds, registries.kprobes, registries.ciphers])
def test_what_may_be_empty_can_be_listed(objects: Objects, registry: object) -> None:
    assert callable(registry)
    assert all(name for _, name in registry(objects))
