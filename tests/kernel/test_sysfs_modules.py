"""What /proc/modules says, taken apart."""

from __future__ import annotations

import pytest

from kobox.kernel.sysfs_modules import COMING, GOING, LIVE, loaded_modules
from tests.monitor.test_monitor import FixedKernel


@pytest.mark.parametrize(("word", "state"), [("Live", LIVE), ("Loading", COMING), ("Unloading", GOING)])
def test_states_have_the_names_that_sysfs_gives_them(word: str, state: str) -> None:
    (module,) = loaded_modules(
        FixedKernel({"/proc/modules": f"one 16384 2 two,three, {word} 0xffffffffc0000000 (OE)\n"})
    )
    assert module.state == state
    assert module.users == ("two", "three")
    assert (module.refcount, module.taint, module.address) == (2, "OE", 0xFFFFFFFFC0000000)
