"""Would it load? Every check of load_module() (kernel/module/main.c), in the kernel's order, without a kernel.

    signature → ELF → blacklist → struct module's CRC → version magic → already there → symbols (CRC, namespace, GPL)
    → relocations → exports → parameters → init

The first check that fails decides the errno, as in the kernel; the others are made all the same.
`kobox.explain.box_answer` asks a real kernel.
"""

from __future__ import annotations

from collections.abc import Sequence

from kobox.explain.explanation import PLAIN, Conditions, Explanation
from kobox.explain.file_checks import (
    call_facts,
    for_module,
    handed_over_packed,
    header_fact,
    is_long_enough,
    packing_facts,
    read_module,
    signature_facts,
    unpacked,
)
from kobox.explain.module_checks import ModuleChecks, size_of
from kobox.images.exports import KernelExports
from kobox.images.store import KernelImage


def explain(
    data: bytes,
    kernel: KernelImage,
    conditions: Conditions = PLAIN,
    *,
    path: str = "",
    others: Sequence[KernelImage] = (),
) -> Explanation:
    """Explain a module file's bytes (plain or compressed) for a kernel. `others` are kernels to look for symbols in.

    Raises `KoboxError` when the kernel cannot be read.
    """
    content = unpacked(data)
    tables = [KernelExports(other) for other in others]
    header = header_fact(content, kernel.arch, others)
    packed = handed_over_packed(data, kernel)
    facts = [*call_facts(content, conditions), *packing_facts(data, kernel)]
    if is_long_enough(content):
        facts += signature_facts(content, kernel, conditions)
    module, damage = read_module(content, path) if header is None else (None, header)
    if module is None:
        found = tuple(fact for fact in [*facts, damage] if fact is not None and (fact.errno or fact.rule != "unsigned"))
        return Explanation(path, "", kernel.name, found, packed=packed)
    checks = ModuleChecks(module, KernelExports(kernel), conditions, tables)
    facts = [for_module(fact, module.name) for fact in facts] + list(checks.facts())
    return Explanation(
        path, module.name, kernel.name, tuple(facts), checks.dependencies, size_of(module), packed=packed
    )
