"""A report as SARIF 2.1.0, which code hosts and editors show beside the source.

Source: OASIS, Static Analysis Results Interchange Format (SARIF) Version 2.1.0.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kobox.checks.report.finding import Chain, Finding, Frame
from kobox.checks.report.kinds import kind_of
from kobox.checks.report.text import advice_of

if TYPE_CHECKING:
    from kobox.checks.report.known import KnownFinding
    from kobox.checks.runner.outcome import CheckReport

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def sarif(reports: Sequence[CheckReport], version: str) -> dict[str, Any]:
    """The log of one or more reports. `version` is kobox's own."""
    found = [finding for report in reports for finding in (*report.findings, *(one.finding for one in report.known))]
    kinds = sorted({finding.kind for finding in found})
    rules = [
        {
            "id": kind,
            "shortDescription": {"text": kind_of(kind).means},
            "help": {"text": kind_of(kind).advice or kind_of(kind).means},
        }
        for kind in kinds
    ]
    driver = {"name": "kobox", "version": version, "informationUri": "https://pypi.org/project/kobox/", "rules": rules}
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [_run(report, driver, kinds) for report in reports]}


def _run(report: CheckReport, driver: dict[str, Any], kinds: list[str]) -> dict[str, Any]:
    notes = [{"level": "note", "message": {"text": f"not checked: {text}"}} for text in report.unchecked]
    return {
        "tool": {"driver": driver},
        "invocations": [
            {"executionSuccessful": report.lives > 0 or bool(report.findings), "toolExecutionNotifications": notes}
        ],
        "results": [
            *(_result(report, finding, kinds) for finding in report.findings),
            *({**_result(report, one.finding, kinds), "suppressions": [_suppression(one)]} for one in report.known),
        ],
        "properties": {"kernel": report.release, "module": report.module},
    }


def _suppression(known: KnownFinding) -> dict[str, str]:
    if known.how == "comment":
        return {"kind": "inSource", "justification": known.reason}
    return {"kind": "external"}


def _result(report: CheckReport, finding: Finding, kinds: list[str]) -> dict[str, Any]:
    text = finding.message if not (advice := advice_of(finding)) else f"{finding.message}. {advice}"
    result: dict[str, Any] = {
        "ruleId": finding.kind,
        "ruleIndex": kinds.index(finding.kind),
        "level": str(finding.severity),
        "message": {"text": text},
        "locations": [_location(report, finding.where)],
    }
    if finding.chain:
        result["stacks"] = [_stack(report, finding.chain, "the calls")]
    if finding.object is not None:
        for chain, name in ((finding.object.made_at, "made at"), (finding.object.freed_at, "freed at")):
            if chain:
                result.setdefault("stacks", []).append(_stack(report, chain, f"{finding.object.what}: {name}"))
                result.setdefault("relatedLocations", []).append(
                    {**_location(report, next((f for f in chain if f.module), chain[0])), "message": {"text": name}}
                )
    result["properties"] = {"stage": finding.stage, "fault": finding.fault}
    return result


def _stack(report: CheckReport, chain: Chain, name: str) -> dict[str, Any]:
    return {"message": {"text": name}, "frames": [{"location": _location(report, frame)} for frame in chain]}


def _location(report: CheckReport, frame: Frame | None) -> dict[str, Any]:
    """Where a frame is: in its source, or else in the module's file."""
    if frame is not None and frame.file and frame.line:
        physical: dict[str, Any] = {
            "artifactLocation": {"uri": _uri(frame.file, report)},
            "region": {"startLine": frame.line},
        }
    else:
        physical = {"artifactLocation": {"uri": _uri(report.plan.module, report)}}
    found: dict[str, Any] = {"physicalLocation": physical}
    if frame is not None:
        name = f"{frame.function}+{frame.offset:#x}"
        found["logicalLocations"] = [{"name": frame.function, "fullyQualifiedName": name, "kind": "function"}]
    return found


def _uri(path: str, report: CheckReport) -> str:
    """A path as a URI: relative to here where it lies below, as code hosts want it."""
    from urllib.parse import quote

    if os.path.isabs(path):
        below = os.path.relpath(path)
        return quote(below) if not below.startswith("..") else Path(path).as_uri()
    return quote(path)
