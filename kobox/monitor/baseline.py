"""Drift: what differs from how a kernel's modules were, or should be."""

from __future__ import annotations

from dataclasses import dataclass

from kobox.monitor.status import KernelModules


@dataclass(frozen=True, slots=True)
class Drift:
    """Modules that are loaded and were not, that were and are not, that changed (name, what, before, after), and those
    that are unsigned (taint E), out of tree (O) or on a blacklist although they are loaded."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[tuple[str, str, str, str], ...]
    unsigned: tuple[str, ...]
    out_of_tree: tuple[str, ...]
    blacklisted: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


def drift(before: KernelModules, now: KernelModules, blacklist: frozenset[str] = frozenset()) -> Drift:
    """Compare two looks, of the same host or of two; sizes count where the release is the same."""
    both = sorted(before.modules.keys() & now.modules.keys())
    changed = []
    for name in both:
        old, new = before.modules[name], now.modules[name]
        pairs = [("version", old.version, new.version), ("srcversion", old.srcversion, new.srcversion)]
        pairs += [("taint", old.taint, new.taint)]
        pairs += [
            (f"parameter {key}", old.parameters[key], new.parameters[key])
            for key in sorted(old.parameters.keys() & new.parameters.keys())
        ]
        if before.release == now.release:
            pairs.append(("size", str(old.size), str(new.size)))
        changed += [(name, what, a, b) for what, a, b in pairs if a != b]
    return Drift(
        added=tuple(sorted(now.modules.keys() - before.modules.keys())),
        removed=tuple(sorted(before.modules.keys() - now.modules.keys())),
        changed=tuple(changed),
        unsigned=tuple(sorted(name for name, one in now.modules.items() if "E" in one.taint)),
        out_of_tree=tuple(sorted(name for name, one in now.modules.items() if "O" in one.taint)),
        blacklisted=tuple(sorted(now.modules.keys() & blacklist)),
    )


def drift_text(found: Drift) -> str:
    """A line for each difference; values as they are."""
    lines = [f"- {name}" for name in found.removed] + [f"+ {name}" for name in found.added]
    lines += [f"  {name}: {what}: {a or 'none'} -> {b or 'none'}" for name, what, a, b in found.changed]
    for title, names in (
        ("unsigned", found.unsigned),
        ("out of tree", found.out_of_tree),
        ("blacklisted and loaded", found.blacklisted),
    ):
        if names:
            lines.append(f"{title}: {' '.join(names)}")
    return "\n".join(lines) if lines else "no difference"
