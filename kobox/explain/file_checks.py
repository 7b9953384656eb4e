"""What is checked before the module itself: the call, the file's packing, its signature, its ELF header."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from kobox.arch.arch import Arch
from kobox.arch.registry import ARCHITECTURES
from kobox.errors import ModuleFormatError
from kobox.explain.compressed import kernel_objections, signature_is_outside, unpacked_by_the_kernel
from kobox.explain.elf_checks import HEADER, Damage, header_damage, processor_of
from kobox.explain.explanation import Conditions, Fact
from kobox.explain.file_kind import kind_of
from kobox.explain.log import cause_of
from kobox.explain.possibilities import POSSIBILITIES
from kobox.images.kernel_config import read_config
from kobox.images.store import KernelImage
from kobox.kernel.interface import InitFlags
from kobox.ko.compression import decompress, recognise
from kobox.ko.modulefile import ModuleFile
from kobox.ko.signature import MARKER, strip

_UNVERIFIED = "module verification failed: signature and/or required key missing - tainting kernel"
_FORCED = InitFlags.IGNORE_MODVERSIONS | InitFlags.IGNORE_VERMAGIC
_TAIL = 1 << 16  # bytes at the end in which a signature's marker is looked for


def unpacked(data: bytes) -> bytes:
    """What the kernel gets of a file that is unpacked before: damaged compressed data stays what it is."""
    try:
        return decompress(data)
    except ModuleFormatError:
        return data


def handed_over_packed(data: bytes, kernel: KernelImage) -> bool:
    """Whether insmod and modprobe of kmod 31 and newer leave it to this kernel to unpack the file."""
    return bool(recognise(data)) and unpacked_by_the_kernel(data, read_config(kernel))


def call_facts(content: bytes, conditions: Conditions) -> Iterator[Fact]:
    """What finit_module(2) itself has against its arguments."""
    if conditions.disabled:  # may_init_module()
        disabled = POSSIBILITIES["disabled"]
        yield Fact(disabled.rule, "loading is turned off (kernel.modules_disabled=1)", "EPERM", disabled.advice)
    unknown = int(conditions.flags) & ~int(_FORCED | InitFlags.COMPRESSED_FILE)
    if unknown or (conditions.flags and not content):
        text = f"flags {unknown:#x} do not exist" if unknown else "the file is empty"
        yield Fact("invalid", text, "EINVAL", POSSIBILITIES["invalid"].advice)


def packing_facts(data: bytes, kernel: KernelImage) -> Iterator[Fact]:
    """How the file is compressed, and whether that can be unpacked where it has to be."""
    kind = recognise(data)
    if not kind:
        return
    if signature_is_outside(data):
        text = f"a signature stands behind the {kind} data: it belongs to the module inside, and is not looked for here"
        yield Fact("signature-outside", text, "", "Sign the .ko first (`kobox sign`), then compress it.")
    try:
        decompress(data)
    except ModuleFormatError as error:
        answer = "EINVAL" if handed_over_packed(data, kernel) else ""  # else it is what it is, and no module
        text = error.message.removeprefix("module: ")
        yield Fact("compression", text, answer, error.hint or "Copy or build it again.")
        return
    if not handed_over_packed(data, kernel):
        yield Fact("compression", f"compressed with {kind}; insmod and modprobe of kmod unpack it (busybox may not)")
        return
    objections = list(kernel_objections(data, read_config(kernel)))
    for text in objections:
        advice = "Pack it as Kbuild does: `xz --check=crc32 --lzma2=dict=1MiB`; or load it unpacked."
        yield Fact("compression", f"compressed with {kind}: {text}", "EINVAL", advice)
    if not objections:
        text = f"compressed with {kind}, which kmod 31 and newer leave to this kernel (CONFIG_MODULE_DECOMPRESS)"
        yield Fact("compression", text)


def signature_facts(content: bytes, kernel: KernelImage, conditions: Conditions) -> Iterator[Fact]:
    """What module_sig_check() (kernel/module/signing.c) makes of the signature."""
    rule, text, answer, log = _signature(content, kernel, conditions)
    if rule == "signature":
        yield Fact(rule, text)
    elif not log:
        yield Fact(rule, text, answer, POSSIBILITIES[rule].advice)
    elif conditions.enforces():
        yield Fact(rule, f"{text}; signatures are enforced", answer, cause_of(answer, log=[log]).advice, (log,))
    elif level := conditions.locked_down():
        log = "Lockdown: kobox: unsigned module loading is restricted; see man kernel_lockdown.7"
        advice = cause_of("EPERM", log=[log]).advice
        yield Fact("lockdown", f"{text}; the kernel is locked down ({level})", "EPERM", advice, (log,))
    else:
        text = f"{text}: taints the kernel; one that enforces signatures (Secure Boot) refuses it"
        again = "" if text.startswith("not signed") or rule != "unsigned" else "Sign it again: `kobox sign`."
        yield Fact(rule, text, "", again, (f"*: {_UNVERIFIED}",))


def _signature(content: bytes, kernel: KernelImage, conditions: Conditions) -> tuple[str, str, str, str]:
    """(rule, text, errno, what the kernel prints where signatures are enforced; "" where it refuses it anyway)."""
    if conditions.flags & _FORCED:  # the last line is not printed by older kernels
        text = "with force, its signature does not count"
        return "unsigned", text, "EKEYREJECTED", "Loading of module with forced loading flags is rejected"
    if not content.endswith(MARKER):
        return "unsigned", _unsigned(content), "EKEYREJECTED", "Loading of unsigned module is rejected"
    from kobox.signing.builtin_certs import built_in_certificates
    from kobox.signing.verify import verify

    verdict = verify(content, [*conditions.trust, *built_in_certificates(kernel)])
    if verdict.valid:
        return "signature", f"signed by {verdict.signer}, which the kernel trusts", "", ""
    if verdict.valid is False and verdict.errno != "ENOPKG":
        rule = "signature-garbage" if verdict.errno == "EBADMSG" else "signature-broken"
        return rule, verdict.reason, verdict.errno, ""
    if verdict.valid is False:
        log = "Loading of module with unsupported crypto is rejected"
        return "signature-crypto", verdict.reason, "EKEYREJECTED", log
    log = "Loading of module with unavailable key is rejected"
    return "foreign-key", verdict.reason, "EKEYREJECTED", log


def _unsigned(content: bytes) -> str:
    at = content.rfind(MARKER[:-1], max(0, len(content) - _TAIL))
    if at < 0:
        return "not signed"
    behind = len(content) - at - len(MARKER)
    if behind < 0:
        return "its signature does not count: the newline at the marker's end is missing"
    noun = "byte follows" if behind == 1 else "bytes follow"
    return f"its signature does not count: {behind} {noun} its marker, where the file has to end"


def for_module(fact: Fact, name: str) -> Fact:
    """The fact with the module's name in the lines that the kernel prints."""
    return replace(fact, log=tuple(line.replace("*: ", f"{name}: ", 1) for line in fact.log))


# -- ELF ----------------------------------------------------------------------------------------------------------


def header_fact(content: bytes, arch: Arch, others: Sequence[KernelImage]) -> Fact | None:
    """What elf_validity_check() of a kernel for `arch` has against the file; None when all is in order.

    A module for another processor may fit one of the `others`.
    """
    damage = header_damage(content, _unsigned_size(content), arch)
    if damage is None:
        return None
    kind = kind_of(content) if damage.rule == "not-elf" else None
    if kind is not None:
        return Fact(damage.rule, f"not a module: {kind.text}", "ENOEXEC", kind.advice, damage.log)
    if not damage.log:
        return Fact(damage.rule, damage.text, "ENOEXEC", "It is empty or nearly so: build or copy it again.")
    fact = _damaged(damage)
    machine = int.from_bytes(content[18:20], "little")
    fitting = [other.name for other in others if other.arch.elf_machine == machine]
    if damage.rule != "architecture":
        return fact
    known = {known.elf_name or known.name: known.debian for known in ARCHITECTURES}
    processor = processor_of(content)
    if processor not in known:
        return replace(fact, advice="No box has such a processor. Build it anew, for this kernel.")
    if fitting:
        return replace(fact, advice=f"It is for the processor of {', '.join(fitting)}: `-k {fitting[0]}`.")
    return replace(fact, advice=f"`kobox kernel add debian:{known[processor]}` fetches a kernel for that processor.")


def _damaged(damage: Damage) -> Fact:
    cause = cause_of("ENOEXEC", log=damage.log)
    return Fact(damage.rule, damage.text, "ENOEXEC", cause.advice, damage.log)


def _unsigned_size(content: bytes) -> int:
    """How long the module is without its signature: what the kernel goes on with."""
    try:
        return len(strip(content)[0]) if content.endswith(MARKER) else len(content)
    except ModuleFormatError:
        return len(content)


def read_module(content: bytes, path: str) -> tuple[ModuleFile | None, Fact | None]:
    """The module, or what is wrong with its sections."""
    try:
        module = ModuleFile(content, path=path)
        parts = [module.elf.find(name) for name in (b".modinfo", b".gnu.linkonce.this_module")]
        _, strings, _ = module.elf.symbol_table()
        _ = module.imports, module.exports, module.versions
    except ModuleFormatError as error:
        return None, Fact("truncated", f"damaged: {error.message}", "ENOEXEC", "Copy or build it again.")
    if not strings:
        log = f"{module.name}: module has no symbols (stripped?)"
    elif not all(parts):
        log = f"{module.name}: No module found in object"
    else:
        return module, None
    cause = cause_of("ENOEXEC", log=[log])
    return None, Fact(cause.rule, cause.why, "ENOEXEC", cause.advice, (log,))


def is_long_enough(content: bytes) -> bool:
    """copy_module_from_user() refuses what is shorter than an ELF header, unseen."""
    return len(content) >= HEADER
