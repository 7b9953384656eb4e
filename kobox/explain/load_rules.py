"""Would it load? Every check of load_module() (kernel/module/main.c), in the kernel's order, without a kernel.

    signature → ELF → blacklist → struct module's CRC → version magic → already there → symbols (CRC, namespace, GPL)
    → relocations → exports → parameters → init

The first check that fails decides the errno, as in the kernel; the others are told all the same. `try_in_box` asks
a real kernel.
"""

from __future__ import annotations

import errno as numbers
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from kobox.arch.arch import Arch
from kobox.arch.registry import architecture
from kobox.errors import BoxError, KoboxError, ModuleFormatError
from kobox.explain.elf_checks import HEADER, Damage, common_symbols, header_damage, relocation_damage
from kobox.explain.log import cause_of
from kobox.explain.parameter_rules import troubles
from kobox.explain.refusals import POSSIBILITIES
from kobox.images.exports import KERNEL, Exported, KernelExports
from kobox.images.store import KernelImage
from kobox.kernel.interface import InitFlags
from kobox.ko import elf
from kobox.ko.licence import GPL_COMPATIBLE
from kobox.ko.modulefile import Import, ModuleFile

if TYPE_CHECKING:
    from cryptography import x509

    from kobox.box.box import Box
    from kobox.kmod.module_tree import ModuleTree

_RELOCATED_BEFORE = "Build it again, and take the .ko as Kbuild left it."
_OUT_OF_TREE = "loading out-of-tree module taints kernel."
_UNVERIFIED = "module verification failed: signature and/or required key missing - tainting kernel"


@dataclass(frozen=True, slots=True)
class Fact:
    """What one check found. `errno` is the kernel's answer when the check fails, "" when it passes.

    `rule` is named as in `kobox.explain.log_rules`; `log` are the lines that the kernel says.
    """

    rule: str
    text: str
    errno: str = ""
    advice: str = ""
    log: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Conditions:
    """Under which it is loaded: the kernel's command line, what it trusts, parameters, finit_module(2)'s flags, and
    the modules that are loaded before it (`beside`). `disabled`: kernel.modules_disabled is 1."""

    parameters: str = ""
    cmdline: str = ""
    trust: tuple[x509.Certificate, ...] = ()
    enforce: bool = False
    lockdown: str = ""
    flags: InitFlags = InitFlags.NONE
    beside: tuple[ModuleFile, ...] = ()
    disabled: bool = False

    def enforces(self) -> bool:
        """Whether signatures are enforced, by the command line's word too."""
        words = re.findall(r"(?:^|\s)module\.sig_enforce(?:=(\S+))?", self.cmdline)
        return self.enforce or any(word in ("", "1", "y", "Y") for word in words)

    def locked_down(self) -> str:
        """The level of lockdown, "" for none."""
        return self.lockdown or "".join(re.findall(r"(?:^|\s)lockdown=(\S+)", self.cmdline)[-1:])

    def blacklist(self) -> list[str]:
        """The names in module_blacklist=."""
        return ",".join(re.findall(r"(?:^|\s)module_blacklist=(\S+)", self.cmdline)).split(",")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a real kernel answered: the errno's name, "" when the module was loaded, and what it said."""

    errno: str
    log: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Whether and why a module would load. `size` is what it takes in the kernel's memory, in bytes.

    `dependencies` are modules of the kernel's tree that have to be loaded before it.
    """

    path: str
    module: str
    kernel: str
    facts: tuple[Fact, ...]
    dependencies: tuple[str, ...] = ()
    size: int = 0
    answer: Answer | None = None

    @property
    def decisive(self) -> Fact | None:
        """The check that the kernel stops at."""
        return next((fact for fact in self.facts if fact.errno), None)

    @property
    def errno(self) -> str:
        """The kernel's answer: the box's if it was asked, else the one expected; "" for a module that loads."""
        if self.answer is not None:
            return self.answer.errno
        return self.decisive.errno if self.decisive else ""

    @property
    def log(self) -> tuple[str, ...]:
        """What the kernel says to it."""
        if self.answer is not None:
            return self.answer.log
        return self.decisive.log if self.decisive else tuple(line for fact in self.facts for line in fact.log)

    @property
    def agrees(self) -> bool:
        """Whether the box, if asked, answered as expected."""
        expected = self.decisive.errno if self.decisive else ""
        return self.answer is None or self.answer.errno == expected


def explain(
    data: bytes,
    kernel: KernelImage,
    conditions: Conditions = Conditions(),
    *,
    path: str = "",
    others: Sequence[KernelImage] = (),
) -> Explanation:
    """Explain a module file's bytes (plain or compressed) for a kernel. `others` are kernels to look for symbols in.

    Raises `KoboxError` when the kernel cannot be read.
    """
    content = _unpacked(data)
    header = _header(content, kernel.arch)
    module: ModuleFile | None = None
    facts = list(_call(content, conditions))
    if len(content) >= HEADER:  # copy_module_from_user(): a shorter one is refused unseen
        facts += _signature(content, kernel, conditions)
    if header is None:
        module, damage = _read(content, path)
        facts += [damage] if damage else []
    else:
        facts.append(header)
    if module is None:
        return Explanation(path, "", kernel.name, tuple(facts))
    examiner = _Examiner(module, KernelExports(kernel), conditions, [KernelExports(other) for other in others])
    facts = [_named(fact, module.name) for fact in facts] + list(examiner.facts())
    return Explanation(path, module.name, kernel.name, tuple(facts), examiner.dependencies, _size(module))


# -- before the module is looked at -------------------------------------------------------------------------------


def _unpacked(data: bytes) -> bytes:
    """What insmod hands to the kernel: compressed data that is damaged stays what it is, and is refused there."""
    from kobox.ko.compression import decompress

    try:
        return decompress(data)
    except ModuleFormatError:
        return data


def _call(content: bytes, conditions: Conditions) -> Iterator[Fact]:
    """What finit_module(2) itself has against its arguments."""
    if conditions.disabled:  # may_init_module()
        yield Fact(
            "disabled", "loading is turned off (kernel.modules_disabled=1)", "EPERM", POSSIBILITIES["disabled"].advice
        )
    known = InitFlags.IGNORE_MODVERSIONS | InitFlags.IGNORE_VERMAGIC | InitFlags.COMPRESSED_FILE
    unknown = int(conditions.flags) & ~int(known)
    if unknown or (conditions.flags and not content):
        text = f"flags {unknown:#x} do not exist" if unknown else "the file is empty"
        yield Fact("invalid", text, "EINVAL", POSSIBILITIES["invalid"].advice)


def _signature(content: bytes, kernel: KernelImage, conditions: Conditions) -> Iterator[Fact]:
    from kobox.signing.verify import verify

    strict, level = conditions.enforces(), conditions.locked_down()
    if conditions.flags & (InitFlags.IGNORE_MODVERSIONS | InitFlags.IGNORE_VERMAGIC):
        rule, text, answer = "unsigned", "with force, its signature does not count", "EKEYREJECTED"
        log = "Loading of module with forced loading flags is rejected"  # not said by older kernels
    elif not content.endswith(b"~Module signature appended~\n"):
        rule, text, answer = "unsigned", "not signed", "EKEYREJECTED"
        log = "Loading of unsigned module is rejected"
    else:
        from kobox.signing.builtin_certs import built_in_certificates

        verdict = verify(content, [*conditions.trust, *built_in_certificates(kernel)])
        if verdict.valid:
            yield Fact("signature", f"signed by {verdict.signer}, which the kernel trusts")
            return
        if verdict.valid is False and not verdict.unsupported:
            rule = "signature-garbage" if verdict.errno == "EBADMSG" else "signature-broken"
            yield Fact(rule, verdict.reason, verdict.errno, POSSIBILITIES[rule].advice)
            return
        rule, text, answer = "foreign-key", verdict.reason, "EKEYREJECTED"
        log = "Loading of module with unavailable key is rejected"
        if verdict.valid is False:
            rule, log = "signature-crypto", "Loading of module with unsupported crypto is rejected"
    if strict:
        yield Fact(rule, f"{text}; signatures are enforced", answer, cause_of(answer, log=[log]).advice, (log,))
    elif level:
        log = "Lockdown: kobox: unsigned module loading is restricted; see man kernel_lockdown.7"
        advice = cause_of("EPERM", log=[log]).advice
        yield Fact("lockdown", f"{text}; the kernel is locked down ({level})", "EPERM", advice, (log,))
    else:
        yield Fact(
            rule, f"{text}: taints the kernel; one that enforces signatures refuses it", log=(f"*: {_UNVERIFIED}",)
        )


def _named(fact: Fact, name: str) -> Fact:
    return replace(fact, log=tuple(line.replace("*: ", f"{name}: ", 1) for line in fact.log))


def _header(content: bytes, arch: Arch) -> Fact | None:
    """What elf_validity_check() says; None when all is in order."""
    damage = header_damage(content, _unsigned_size(content), arch)
    if damage is not None and damage.log:
        return _damaged(damage)
    if damage is not None:
        return Fact(damage.rule, damage.text, "ENOEXEC", "It is empty or nearly so: build or copy it again.")
    return None


def _damaged(damage: Damage) -> Fact:
    cause = cause_of("ENOEXEC", log=damage.log)
    return Fact(damage.rule, damage.text, "ENOEXEC", cause.advice, damage.log)


def _unsigned_size(content: bytes) -> int:
    """How long the module is without its signature: what the kernel goes on with."""
    from kobox.ko.signature import strip

    try:
        return len(strip(content)[0]) if content.endswith(b"~Module signature appended~\n") else len(content)
    except ModuleFormatError:
        return len(content)


def _read(content: bytes, path: str) -> tuple[ModuleFile | None, Fact | None]:
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


def _size(module: ModuleFile) -> int:
    return sum(section.size for section in module.elf.sections if section.flags & elf.SHF_ALLOC)


# -- the module itself --------------------------------------------------------------------------------------------


class _Examiner:
    """The checks on one module, in the kernel's order."""

    def __init__(
        self, module: ModuleFile, kernel: KernelExports, conditions: Conditions, others: Sequence[KernelExports]
    ) -> None:
        self._module = module
        self._name = module.name
        self._kernel = kernel
        self._conditions = conditions
        self._others = others
        # The kernel goes by version magic and CRCs only if the module has any and nobody says otherwise.
        ignored = conditions.flags & InitFlags.IGNORE_MODVERSIONS
        self._versions = {} if ignored else module.versions
        self._versioned = "modversions" in kernel.vermagic.split()

    def facts(self) -> Iterator[Fact]:
        """All facts."""
        if self._name in self._conditions.blacklist():
            yield self._refusal(
                "blacklisted", "module_blacklist= names it", "EPERM", f"Module {self._name} is blacklisted"
            )
        yield from self._layout()
        yield from self._vermagic()
        if self._module.modinfo.first("intree") != "Y":
            yield Fact("out-of-tree", "built outside the kernel's source", log=(f"{self._name}: {_OUT_OF_TREE}",))
        yield from self._room()
        yield from self._presence()
        yield from self._symbols()
        yield from self._relocations()
        yield from self._exports()
        yield from self._parameters()

    def _refusal(self, rule: str, text: str, errno: str, *log: str) -> Fact:
        return Fact(rule, text, errno, cause_of(errno, log=log).advice, log)

    def _layout(self) -> Iterator[Fact]:
        if not self._versioned:
            return
        wanted = self._kernel.table.get("module_layout")
        has = self._versions.get("module_layout")
        if not self._versions:
            log = f"{self._name}: module_layout: kernel tainted."
            yield Fact("versions-forced", "no symbol versions: nothing checks that it fits", log=(log,))
        elif wanted is not None and has is not None and has != wanted.crc:
            text = f"struct module differs: its CRC is {has:#010x} in the module, {wanted.crc:#010x} in the kernel"
            log = f"{self._name}: disagrees about version of symbol module_layout"
            yield self._refusal("module-layout", text, "ENOEXEC", log)
        elif wanted is not None:
            yield Fact("module-layout", f"struct module is the kernel's own (CRC {wanted.crc:#010x})")

    def _vermagic(self) -> Iterator[Fact]:
        has, wants = self._module.modinfo.first("vermagic"), self._kernel.vermagic
        if not has or self._conditions.flags & InitFlags.IGNORE_VERMAGIC:
            log = f"{self._name}: bad vermagic: kernel tainted."
            yield Fact("vermagic-forced", "its version magic is not looked at", log=(log,))
            return
        # same_magic(): with CRCs, the release does not matter.
        skip = 1 if self._versioned and self._versions else 0
        if has.split(" ")[skip:] == wants.split(" ")[skip:]:
            told = "" if has == wants else f" (built for {has.split()[0]}; CRCs decide, the release does not)"
            yield Fact("vermagic", f"version magic fits{told}")
            return
        text = f"version magic `{has.strip()}`, and the kernel's is `{wants.strip()}`"
        log = f"{self._name}: version magic '{has}' should be '{wants}'"
        yield self._refusal("vermagic", text, "ENOEXEC", log)

    def _room(self) -> Iterator[Fact]:
        size = _size(self._module)
        room = architecture(self._module.elf.architecture).addresses.modules_size
        if size > room:
            text = f"it takes {size >> 20} MiB, and all modules together have {room >> 20}"
            yield self._refusal("memory", text, "ENOMEM")

    def _presence(self) -> Iterator[Fact]:
        if any(other.name == self._name for other in self._conditions.beside):
            loaded = POSSIBILITIES["already-loaded"]
            yield Fact(loaded.rule, loaded.why, "EEXIST", loaded.advice)
        elif self._tree is not None and self._tree.is_builtin(self._name):
            yield Fact("built-in", "a module of that name is part of this kernel's image")

    # -- symbols ----------------------------------------------------------------------------------------------

    @cached_property
    def _tree(self) -> ModuleTree | None:
        from kobox.box.boot.boot import tree_of

        return tree_of(self._kernel.kernel) if self._kernel.kernel.modules is not None else None

    @cached_property
    def _beside(self) -> dict[str, Exported]:
        """What the modules that are loaded before this one export."""
        return {
            name: Exported(name, crc or 0, other.name, gpl_only, namespace)
            for other in self._conditions.beside
            for name, crc, namespace, gpl_only in other.exports
        }

    def _find(self, symbol: str) -> Exported | None:
        return self._kernel.table.get(symbol) or self._beside.get(symbol)

    @cached_property
    def dependencies(self) -> tuple[str, ...]:
        """The modules of the tree that have to be there first, the deepest first."""
        owners = {found.owner for one in self._module.imports if (found := self._kernel.table.get(one.name))}
        wanted = sorted(owners - {KERNEL, self._name} - {other.name for other in self._conditions.beside})
        order: dict[str, None] = {}
        for owner in wanted:
            entry = self._tree.entry(owner) if self._tree is not None else None
            order.update(dict.fromkeys(entry.dependencies if entry else ()))
            order[owner] = None
        return tuple(order)

    def _symbols(self) -> Iterator[Fact]:
        if not self._kernel.known:
            yield Fact("symbols", "not checked: this kernel came without headers, so without Module.symvers")
            return
        problems = [fact for one in self._module.imports if (fact := self._symbol(one)) is not None]
        if problems:
            # simplify_symbols() goes through all of them and returns the last one's error.
            last = problems[-1].errno
            yield from (replace(fact, errno=last) for fact in problems)
            return
        text = f"all {len(self._module.imports)} symbols that it uses are there"
        needed = self.dependencies
        yield Fact("symbols", text + (f", with {', '.join(needed)} loaded before it" if needed else ""))

    def _symbol(self, one: Import) -> Fact | None:
        found = self._find(one.name)
        unknown = f"{self._name}: Unknown symbol {one.name} (err "
        if found is None:
            return None if one.weak else self._unknown(one.name, unknown + "-2)")
        gpl = self._module.modinfo.first("license") in GPL_COMPATIBLE
        if found.gpl_only and not gpl:
            told = self._module.modinfo.first("license") or "none"
            text = f"{one.name} is for GPL modules only, and this module's licence is {told}"
            advice = 'MODULE_LICENSE("GPL") if that is its licence; else do without the symbol.'
            return Fact("unknown-symbol", text, "ENOENT", advice, (unknown + "-2)",))
        has = self._versions.get(one.name)
        if self._versioned and has is not None and has != found.crc:
            text = f"{one.name} ({found.owner}): its CRC is {has:#010x} in the module, {found.crc:#010x} in the kernel"
            log = f"{self._name}: disagrees about version of symbol {one.name}"
            return self._refusal("crc", text, "EINVAL", log, unknown + "-22)")
        if not found.is_for(self._name, self._module.import_namespaces):
            text = f"{one.name} is in the namespace {found.namespace}, which the module does not import"
            log = (
                f"{self._name}: module uses symbol ({one.name}) from namespace {found.namespace}, "
                "but does not import it."
            )
            return self._refusal("namespace", text, "EINVAL", log, unknown + "-22)")
        return None

    def _unknown(self, symbol: str, log: str) -> Fact:
        elsewhere = [other.kernel.name for other in self._others if other.has(symbol)]
        near = self._kernel.near(symbol)
        text = f"{symbol} is exported by nothing in this kernel"
        advice = f"The modules that export it have to be loaded before: {', '.join(self._module.depends)}."
        if elsewhere:
            text += f"; {', '.join(elsewhere)} ha{'s' if len(elsewhere) == 1 else 've'} it"
            advice = "The kernel's interface changed: build the module for this kernel, and port it where that fails."
        elif near:
            owners = (f"{name} ({self._kernel.table[name].owner})" for name in near)
            text += f"; near it: {', '.join(owners)}"
            advice = "Is it misspelt?"
        elif not self._module.depends:
            advice = "Give the module that exports it, too (--with); `kobox run DIR` loads several in order."
        return Fact("unknown-symbol", text, "ENOENT", advice, (log,))

    def _exports(self) -> Iterator[Fact]:
        present = {KERNEL, *self.dependencies}
        for export in self._module.exports:
            found = self._find(export.name)
            if found is None or found.owner == self._name:
                continue
            owner = "kernel" if found.owner == KERNEL else found.owner
            log = f"{self._name}: exports duplicate symbol {export.name} (owned by {owner})"
            if found.owner in present or export.name in self._beside:
                yield self._refusal("duplicate-export", f"{owner} exports {export.name}, too", "ENOEXEC", log)
                return
            yield Fact("duplicate-export", f"{owner} exports {export.name}, too: only one of them can be loaded")

    # -- relocations and parameters ---------------------------------------------------------------------------

    def _relocations(self) -> Iterator[Fact]:
        try:
            found = [*common_symbols(self._module.elf, self._name), *relocation_damage(self._module.elf, self._name)]
        except ModuleFormatError as error:
            yield Fact("relocation", f"damaged: {error.message}", "", "Build it again.")
            return
        for damage in found:
            advice = cause_of("ENOEXEC", log=damage.log).advice if damage.log else _RELOCATED_BEFORE
            yield Fact(damage.rule, damage.text, "ENOEXEC" if damage.fatal else "", advice, damage.log)
        if not found:
            yield Fact("relocation", "its relocations are of the kinds that modules have")

    def _parameters(self) -> Iterator[Fact]:
        types = {one.name: one.type for one in self._module.parameters}
        found = list(troubles(self._conditions.parameters, types, self._name))
        last = next((one.errno for one in reversed(found) if one.errno), "")
        for one in found:
            advice = cause_of(one.errno, log=one.log).advice if one.errno else ""
            yield Fact(one.rule, one.text, last if one.errno else "", advice, one.log)


# -- asking a real kernel -----------------------------------------------------------------------------------------


def try_in_box(data: bytes, explanation: Explanation, box: Box, conditions: Conditions = Conditions()) -> Explanation:
    """Load the module in a box, with what it needs before it, and put the kernel's answer beside the expected one.

    The box must have been booted under the same conditions. It is left as the load left it.
    """
    note = ""
    for name in explanation.dependencies:
        try:
            box.modprobe(name)
        except KoboxError as error:
            note = f"its dependency {name} could not be loaded: {error.message.splitlines()[0]}"
    for other in conditions.beside:
        box.insmod(other.content)
    if conditions.disabled:
        box.write_bytes("/proc/sys/kernel/modules_disabled", b"1")
    start = box.log.next_seq
    answer = ""
    try:
        box.init_module(_unpacked(data), conditions.parameters, conditions.flags)
    except BoxError as error:
        answer, note = "DIED", error.args[0].splitlines()[0]
    except OSError as error:
        answer = numbers.errorcode.get(error.errno or 0, str(error.errno))
    said = tuple(record.text for record in box.log.since(start))
    return replace(explanation, answer=Answer(answer, said, note))
