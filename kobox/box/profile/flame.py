"""Flame graphs: folded stacks as flamegraph.pl reads them, SVG, and speedscope's JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from zlib import crc32

from kobox.box.profile.costs import FunctionName, ProfileCosts
from kobox.printable import one_line

_WIDTH, _HEIGHT, _MARGIN = 1200.0, 17, 10
_LETTER = 6.6
_NARROWEST = 0.3


def folded(costs: ProfileCosts) -> str:
    """A line a chain: `outermost;…;innermost instructions`."""
    lines = [
        ";".join(map(_label, chain.functions)) + f" {chain.instructions}"
        for chain in costs.chains
        if chain.instructions
    ]
    return "\n".join([*sorted(lines), ""])


def speedscope(costs: ProfileCosts, name: str) -> str:
    """JSON for speedscope.app, which runs in the browser and sends nothing away."""
    frames: dict[FunctionName, int] = {}
    samples, weights = [], []
    for chain in costs.chains:
        if chain.instructions:
            samples.append([frames.setdefault(one, len(frames)) for one in chain.functions])
            weights.append(chain.instructions)
    profile = {
        "type": "sampled",
        "name": name,
        "unit": "none",
        "startValue": 0,
        "endValue": sum(weights),
        "samples": samples,
        "weights": weights,
    }
    return json.dumps(
        {
            "$schema": "https://www.speedscope.app/file-format-schema.json",
            "shared": {"frames": [{"name": one_line(one.name), "file": one.module or "kernel"} for one in frames]},
            "profiles": [profile],
            "name": name,
            "exporter": "kobox",
        }
    )


@dataclass(slots=True)
class _Flame:
    """A function as it was called through those below it."""

    total: int = 0
    callees: dict[FunctionName, _Flame] = field(default_factory=dict)


def svg(costs: ProfileCosts, title: str) -> str:
    """A flame graph: callers below, callees above, as wide as their instructions. The mouse over one tells its cost."""
    root, deepest = _Flame(), 0
    for chain in costs.chains:
        at = root
        at.total += chain.instructions
        for function in chain.functions:
            at = at.callees.setdefault(function, _Flame())
            at.total += chain.instructions
        deepest = max(deepest, len(chain.functions) if chain.instructions else 0)
    height = (deepest + 1) * _HEIGHT + 50
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH + 2 * _MARGIN:.0f} {height}" '
        f'font-family="DejaVu Sans Mono, monospace" font-size="11">',
        '<rect width="100%" height="100%" fill="#fbfbfa"/>',
        f'<text x="{_MARGIN}" y="20" font-size="14">{_quoted(title)}</text>',
        f'<text x="{_MARGIN}" y="36" fill="#5a6472">{root.total:,} instructions; modules blue, the kernel sand</text>',
    ]
    if root.total:
        parts += _boxes(root, root.total, height)
    return "\n".join([*parts, "</svg>", ""])


def _boxes(root: _Flame, whole: int, height: int) -> Iterator[str]:
    stack = [(root, float(_MARGIN), 0)]
    while stack:
        flame, x, depth = stack.pop()
        for function, callee in sorted(flame.callees.items(), key=lambda one: str(one[0])):
            width = _WIDTH * callee.total / whole
            if width >= _NARROWEST:
                yield _box(function, callee.total, whole, (x, height - 10 - (depth + 1) * _HEIGHT, width))
                stack.append((callee, x, depth + 1))
            x += width


def _box(function: FunctionName, total: int, whole: int, place: tuple[float, float, float]) -> str:
    x, y, width = place
    shade = crc32(function.name.encode()) % 32
    colour = (
        f"rgb({110 + shade},{160 + shade},{215 + shade // 2})"
        if function.module
        else f"rgb({224 + shade // 2},{190 + shade},{130 + shade})"
    )
    room = int((width - 4) / _LETTER)
    name = one_line(function.name)
    text = name if len(name) <= room else name[: room - 1] + "…" if room > 3 else ""
    return (
        f"<g><title>{_quoted(_label(function))}: {total:,} instructions ({100 * total / whole:.1f} %)</title>"
        f'<rect x="{x:.1f}" y="{y}" width="{max(width - 0.4, 0.2):.1f}" height="{_HEIGHT - 1}" fill="{colour}" rx="1"/>'
        f'<text x="{x + 2:.1f}" y="{y + 12}">{_quoted(text)}</text></g>'
    )


def _label(function: FunctionName) -> str:
    name = one_line(str(function)).replace(";", ":")
    return name.replace(" [", "_[")


def _quoted(text: str) -> str:
    return escape(one_line(text))
