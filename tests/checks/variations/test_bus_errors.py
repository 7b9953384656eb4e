"""The bus fails in a check: I2C does not acknowledge, SPI loses a word, USB stalls or does not answer; the drivers are
tests/modules/wires."""

from __future__ import annotations

import pytest

from kobox.checks.report.finding import Severity
from kobox.checks.runner.check import check
from kobox.checks.runner.plan import CheckPlan
from kobox.checks.variations.bus_errors import bus_errors
from kobox.devices.phantom_policy import Lie, LieKind
from kobox.images.kernel_image import KernelImage
from tests.building import BuiltTestModules

# Driver, its mistake, the finding, and what went wrong on the bus.
MISTAKES = [
    ("i2cnak", "leak", "leak", "the device refused transfer"),
    ("i2cnak", "late", "use-after-free", "the device refused transfer"),
    ("spilost", "leak", "leak", "the device refused transfer"),
    ("spilost", "late", "use-after-free", "the device refused transfer"),
    ("usbstall", "stall", "leak", "the device refused transfer"),
    ("usbstall", "timeout", "double-free", "the device"),
    ("i2cnak", "", "", ""),
    ("spilost", "", "", ""),
    ("usbstall", "", "", ""),
]


@pytest.mark.parametrize(("name", "careless", "kind", "words"), MISTAKES)
def test_a_bus_that_fails(full_kernel: KernelImage, name: str, careless: str, kind: str, words: str) -> None:
    path = BuiltTestModules(full_kernel, "wires")(name)
    report = check(
        CheckPlan(
            str(path),
            full_kernel.name,
            parameters=f"careless={careless}" if careless else "",
            loads=1,
            faults=False,
            exercise="none",
            workers=1,
        )
    )
    assert report.plan.device is not None
    assert report.plan.device.result == "bound"
    errors = [finding for finding in report.findings if finding.severity is Severity.ERROR]
    assert sorted({finding.kind for finding in errors}) == ([kind] if kind else []), report.findings
    assert any(words in finding.message for finding in errors) is bool(kind)


def test_each_of_the_first_transfers_fails_and_some_of_the_others() -> None:
    few = list(bus_errors(5, 8))
    assert few == [Lie(LieKind.REFUSED, 5), Lie(LieKind.REFUSED, 6), Lie(LieKind.REFUSED, 7), Lie(LieKind.SILENT, 0)]
    many = [lie.value for lie in bus_errors(0, 1000)]
    assert many[:10] == list(range(10))
    assert many[-2] == 999
    assert len(many) == 16
    assert list(bus_errors(3, 3)) == [Lie(LieKind.SILENT, 0)]
