"""Checks with a made-up device: probe's own code, surprise removal, a device that lies; tests/modules/pcicareless.c."""

from __future__ import annotations

import pytest

from kobox.box.box import Box
from kobox.checks.phantom.buses import attendant_for
from kobox.checks.report.finding import Finding, Frame, Severity
from kobox.checks.runner.check import check
from kobox.checks.runner.examiner import by_what_is_made_up
from kobox.checks.runner.outcome import CheckReport
from kobox.checks.runner.plan import CheckPlan
from kobox.devices.phantom import identities_for, phantom
from kobox.devices.phantom_policy import Lie, LieKind, Policy
from kobox.images.kernel_image import KernelImage
from kobox.ko.modulefile import ModuleFile
from tests.building import BuiltTestModules


def checked(modules: BuiltTestModules, careless: str, *, hostile: bool = False, faults: bool = False) -> CheckReport:
    return check(
        CheckPlan(
            str(modules("pcicareless")),
            modules.kernel.name,
            parameters=f"careless={careless}" if careless else "",
            loads=1,
            faults=faults,
            hostile=hostile,
            workers=2,
        )
    )


def test_a_driver_that_makes_no_mistake_whatever_its_device_says(modules: BuiltTestModules) -> None:
    report = checked(modules, "", hostile=True, faults=True)
    assert report.plan.device is not None
    assert report.plan.device.result == "bound"
    assert report.findings == []
    assert any(fault.function == "request_threaded_irq" for fault in report.places)  # probe's own code gets faults
    assert report.coverage is not None
    assert "card_remove" not in report.coverage.never_reached()


HOSTILE = {
    "length": ("out-of-bounds", "0x10 was read"),
    "index": ("out-of-bounds", "0x14 was read"),
    "shift": ("shift", "0x18 was read"),
    "ring": ("out-of-bounds", "shared memory 0 + 0x0 was read"),
}


@pytest.mark.parametrize("careless", HOSTILE)
def test_a_driver_that_believes_its_device(modules: BuiltTestModules, careless: str) -> None:
    report = checked(modules, careless, hostile=True)
    found = [finding for finding in report.findings if finding.kind == "device-controlled"]
    assert found, report.findings
    assert HOSTILE[careless][1] in found[0].message
    assert {finding.kind for finding in report.findings} == {"device-controlled"}


@pytest.mark.parametrize("careless", [1, 0])
def test_a_driver_that_is_never_interrupted(debian_kernel: KernelImage, careless: int) -> None:
    path = BuiltTestModules(debian_kernel, "hardware")("pcisilent")
    plan = CheckPlan(
        str(path),
        debian_kernel.name,
        parameters=f"careless={careless}",
        loads=1,
        faults=False,
        hostile=True,
        exercise="none",
        workers=2,
    )
    report = check(plan)
    assert report.plan.device is not None
    assert report.plan.device.result == "bound"
    found = [finding.message for finding in report.findings if finding.kind == "device-controlled"]
    assert bool(found) is bool(careless), report.findings
    assert all(message.endswith("the device never interrupted") for message in found)


@pytest.mark.parametrize("careless", ["early", ""])
def test_a_driver_that_is_interrupted_without_end(debian_kernel: KernelImage, careless: str) -> None:
    path = BuiltTestModules(debian_kernel, "hardware")("pcistorm")
    plan = CheckPlan(
        str(path),
        debian_kernel.name,
        parameters=f"careless={careless}" if careless else "",
        loads=1,
        faults=False,
        hostile=True,
        exercise="none",
        workers=1,
    )
    report = check(plan)
    assert report.plan.device is not None
    assert report.plan.device.result == "bound"
    found = [finding.message for finding in report.findings if finding.kind == "device-controlled"]
    assert bool(found) is bool(careless), report.findings
    assert all(message.endswith("the device interrupted without end") for message in found)
    assert report.findings == [] or careless


def test_a_storm_goes_on_each_time_that_an_interrupt_is_over(box: Box, debian_kernel: KernelImage) -> None:
    path = BuiltTestModules(debian_kernel, "hardware")("pcistorm")
    box.insmod(path)
    device = phantom(identities_for(ModuleFile(path).aliases)[0], Policy())
    device.lie = Lie(LieKind.STORM, 0)
    runs = list[int]()
    probe = box.probe("pcistorm:storm_interrupt", lambda hit: runs.append(hit.args[0]))
    attendant = attendant_for(box, device, None)
    attendant.attach()
    box.plug(device)
    box.sleep(1)
    attendant.detach()
    probe.remove()
    assert device.driver == "pcistorm"
    assert len(runs) > 60
    assert not box.findings


def test_without_a_hostile_device_nothing_is_found(modules: BuiltTestModules) -> None:
    assert checked(modules, "index").findings == []


def test_what_is_wrong_only_when_the_device_is_taken_out(modules: BuiltTestModules) -> None:
    (finding, *_) = checked(modules, "removal").findings
    assert "the device was taken out by surprise" in finding.message


def test_an_error_path_of_probe(modules: BuiltTestModules) -> None:
    kinds = {finding.kind for finding in checked(modules, "probe", faults=True).findings}
    assert "double-free" in kinds


@pytest.mark.parametrize(
    ("kind", "module", "waits", "severity"),
    [
        ("kernel-warning", "driver", False, Severity.NOTE),  # its own WARN()
        ("kernel-warning", "", False, Severity.ERROR),  # refcount_warn_saturate(), say
        ("hang", "driver", True, Severity.NOTE),
        ("hang", "driver", False, Severity.ERROR),
        ("use-after-free", "driver", True, Severity.ERROR),
    ],
)
def test_what_a_made_up_device_leads_to_is_a_note(kind: str, module: str, waits: bool, severity: Severity) -> None:
    found = Finding(kind, Severity.ERROR, "what is found", (Frame("f", 0, module),))
    assert by_what_is_made_up(found, waits).severity == severity


def test_a_task_that_sleeps_until_a_made_up_device_answers_is_a_note() -> None:
    message = "INFO: task kobox:80 blocked for more than 120 seconds."
    found = Finding("kernel-warning", Severity.WARNING, message, (Frame("__schedule", 0x34D),))
    assert by_what_is_made_up(found, False).severity is Severity.NOTE
