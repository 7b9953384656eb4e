"""Functions that the kernel asks before it allows something, put there by a module: lists, and static calls."""

from __future__ import annotations

import pytest

from kobox.behaviour.examine import examine
from kobox.behaviour.security_hooks import SecurityHooks
from kobox.box.boot.boot import boot
from kobox.images.store import KernelImage
from kobox.ko.modulefile import ModuleFile
from tests.building import BuiltTestModules


def test_a_hook_in_a_list_is_seen(debian_kernel: KernelImage) -> None:
    with boot(debian_kernel) as box:
        report = examine(box, ModuleFile(str(BuiltTestModules(debian_kernel, "lsm")("asker"))))
    (seen,) = (one for one in report.traits if one.kind == "security hooks")
    assert seen.text == "the kernel asks it before it allows file_open"
    assert seen.level == "hostile"
    assert "file_open" in seen.before
    assert seen.after.startswith("opens+0x0")
    assert "security hooks" in report.judgement


@pytest.mark.parametrize("fixture", ["trixie_kernel", "sid_kernel"])
def test_a_static_call_that_leads_elsewhere_is_seen(fixture: str, request: pytest.FixtureRequest) -> None:
    with boot(request.getfixturevalue(fixture)) as box:
        hooks, objects = SecurityHooks(box), box.inspect.objects
        assert list(hooks.traits(lambda _: False)) == []
        key = objects.member(box.inspect.symbols.address("__SCK__lsm_static_call_file_open_0"), "static_call_key.func")
        before, own = objects.u64(key), 0xFFFFFFFFC0000010
        box.inspect.memory.write(key, own.to_bytes(8, "little"))
        seen = [trait.text for trait in hooks.traits(lambda address: address == own)]
        assert seen[0] == "the kernel asks it before it allows file_open"
        assert len(seen) == (2 if before else 1)
        box.inspect.memory.write(key, bytes(8))
        gone = [trait.text for trait in hooks.traits(lambda _: False)]
        assert [text.partition(" about ")[2] for text in gone] == (["file_open any more"] if before else [])
