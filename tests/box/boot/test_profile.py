"""A box that boots its kernel as the distribution does."""

from __future__ import annotations

import pytest

import kobox
from kobox.box.boot.init_program import command_line
from kobox.errors import KoboxError
from kobox.images.kernel_image import KernelImage
from tests.building import BuiltTestModules


def test_the_default_profile_boots_as_the_distribution_does(
    debian_kernel: KernelImage, modules: BuiltTestModules
) -> None:
    with kobox.boot(debian_kernel, profile="default") as box:
        assert "mitigations=off" not in box.read_text("/proc/cmdline")
        assert box.read_text("/sys/devices/system/cpu/vulnerabilities/spectre_v1").startswith("Mitigation: ")
        assert box.read_text("/sys/module/apparmor/parameters/enabled") == "Y\n"
        assert box.read_text("/proc/sys/kernel/randomize_va_space") == "2\n"
        handle = box.insmod(modules("params").read_bytes())
        assert handle.is_loaded
        handle.unload()
        assert not [finding for finding in box.findings if finding.severity == "error"]


def test_the_fast_profile_leaves_that_out(debian_kernel: KernelImage) -> None:
    fast, default = (command_line(debian_kernel.arch, "last=1", profile=name) for name in ("fast", "default"))
    assert set(default.split()) < set(fast.split())
    assert fast.endswith(" last=1")


def test_no_other_profile(debian_kernel: KernelImage) -> None:
    with pytest.raises(KoboxError, match="profile=slow: there is no such profile"):
        kobox.boot(debian_kernel, profile="slow")
