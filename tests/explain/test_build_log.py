"""Logs of builds that failed, as DKMS and make leave them: each interface is explained as `kobox build` does."""

from __future__ import annotations

import re

import pytest

from kobox.explain.build_log import release_in, stand_in
from kobox.explain.log import causes_in
from kobox.images.exports import KernelExports
from kobox.images.store import KernelImage

_DKMS = "DKMS make.log for drv-1.0 for kernel {} (x86_64)\n"
# The release that is built for, the compiler's lines, and what is said: all of these.
LOGS = [
    (
        "7.2.1",
        "x.c:3:9: error: implicit declaration of function 'strlcpy'; did you mean 'strscpy'?",
        ["strscpy", "6.8"],
    ),
    (
        "6.16.0-5-cachyos",
        "x.h:357:26: error: implicit declaration of function 'from_timer'; did you mean 'mod_timer'?\n"
        "make[2] : on quitte le répertoire \xab /usr/lib/modules/6.16.0-5-cachyos/build \xbb",
        [r"timer_container_of\(\)", "6.16"],
    ),
    (
        "6.15.0-rc1",
        "a.c:210:9: error: implicit declaration of function 'del_timer_sync'\n"
        "  210 |         del_timer_sync(&gamepad->rumble.timer);\n"
        "b.c:502:9: error: implicit declaration of function 'hrtimer_init'; did you mean 'hrtimers_init'?",
        [r"timer_delete_sync\(\)", r"hrtimer_setup\(\)"],
    ),
    ("4.15.6", "x.h:963:2: error: implicit declaration of function 'init_timer'", [r"timer_setup\(\)"]),
    ("5.10.0", 'x.c:40:36: error: macro "access_ok" passed 3 arguments, but takes just 2', ["access_ok", "5.0"]),
    (
        "6.8.0-31-generic",
        "x.c:9:20: error: assignment of read-only member 'vm_flags'\n    9 |   vma->vm_flags |= VM_IO;",
        [r"vm_flags_set\(\)"],
    ),
    (
        "6.5.0",
        "x.c:9:12: error: initialization of 'void (*)(struct i2c_client *)' from incompatible pointer type "
        "'int (*)(struct i2c_client *)' [-Werror=incompatible-pointer-types]\n    9 |  .remove = my_remove,\n"
        "x.c:9:12: note: (near initialization for 'my_driver.remove')",
        [r"i2c_driver\.remove", "returns nothing"],
    ),
    (
        "6.1.0",
        "x.c:12:8: error: passing argument 1 of 'memcpy' discards 'const' qualifier from pointer target type\n"
        "   12 |   memcpy(ndev->dev_addr, mac, ETH_ALEN);",
        [r"eth_hw_addr_set\(\)"],
    ),
    ("6.12.0", "x.c:3:10: fatal error: asm/unaligned.h: No such file or directory", ["linux/unaligned.h"]),
    ("6.1.0", "x.c:3:10: fatal error: stdio.h: No such file or directory", ["user space", "pr_info"]),
    ("6.9.1", "x.c:3:10: error: implicit declaration of function 'vmalloc'", ["#include <linux/vmalloc.h>"]),
    ("6.1.0", "x.c:3:5: error: SSE register return with SSE disabled", ["Floating point"]),
]


@pytest.fixture(scope="module")
def exports(debian_kernel: KernelImage, trixie_kernel: KernelImage, sid_kernel: KernelImage) -> list[KernelExports]:
    return [KernelExports(kernel) for kernel in (debian_kernel, trixie_kernel, sid_kernel)]


@pytest.mark.parametrize(("release", "log", "wanted"), LOGS, ids=[f"{n}-{row[0]}" for n, row in enumerate(LOGS)])
def test_a_log_of_a_build(release: str, log: str, wanted: list[str], exports: list[KernelExports]) -> None:
    causes = causes_in(_DKMS.format(release) + log, exports=exports)
    said = "\n".join(f"{cause.why}\n{cause.advice}" for cause in causes if cause.fatal)
    for pattern in wanted:
        assert re.search(pattern, said), said


def test_a_change_that_is_newer_than_the_kernel_is_no_cause(exports: list[KernelExports]) -> None:
    """An unknown from_timer() of 4.14 is not explained by what 6.16 did."""
    log = _DKMS.format("4.14.1") + "x.c:3:9: error: implicit declaration of function 'from_timer'"
    assert not any("6.16" in cause.why for cause in causes_in(log, exports=exports))


def test_no_file_that_a_log_names_is_opened(exports: list[KernelExports], tmp_path: object) -> None:
    log = f"{tmp_path}/secret.c:1:20: error: assignment of read-only member 'vm_flags'\n 1 | area->vm_flags |= 1;"
    [cause] = causes_in(log, exports=exports)
    assert "vm_area_struct" in cause.why  # known by the member's name alone


@pytest.mark.parametrize(
    ("line", "release"),
    [
        (
            "Error! Bad return status for module build on kernel: 6.13.0-1-cachyos-bore (x86_64)",
            "6.13.0-1-cachyos-bore",
        ),
        ("make: Entering directory '/usr/src/linux-headers-6.5.0-14-generic'", "6.5.0-14-generic"),
        ("make -C /lib/modules/4.19.128-microsoft-standard/build M=/home/me", "4.19.128-microsoft-standard"),
        ("make[1]: Entering directory '/usr/src/kernels/5.14.0-70.el9.x86_64'", "5.14.0-70.el9.x86_64"),
        ("hello.c:1:1: error: no", ""),
    ],
)
def test_the_release_that_a_log_is_about(line: str, release: str) -> None:
    assert release_in(line) == release


def test_the_kernel_that_stands_in(debian_kernel: KernelImage, trixie_kernel: KernelImage) -> None:
    kernels = [trixie_kernel, debian_kernel]
    assert stand_in(debian_kernel.release, kernels) is debian_kernel
    assert stand_in("5.15.0-91-generic", kernels) is debian_kernel
    assert stand_in("6.5.0", kernels) is trixie_kernel
    assert stand_in("6.19.0", kernels) is trixie_kernel
    assert stand_in("", kernels) is trixie_kernel
    assert stand_in("6.5.0", []) is None
