"""What a box's kernel trusts: certificates in its own keyrings, signatures enforced, lockdown.

A kernel adds a certificate to `.secondary_trusted_keys` at run time only when a key that it trusts already has signed
it (certs/system_keyring.c, the keyring's restriction). Here that one check is answered with yes while add_key(2) runs.
Everything after it is the kernel's own: mod_verify_sig() finds the certificate there as if it had been built in, and
says for itself what it thinks of a module's signature.

    /proc/keys   30120c93 I------     1 perm 1f0f0000     0     0 keyring   .secondary_trusted_keys: 2
                 serial                    permissions                      description
"""

from __future__ import annotations

import errno
import re
from contextlib import ExitStack
from typing import TYPE_CHECKING

from kobox.box.booted import BootedKernel
from kobox.errors import KoboxError, SigningError

if TYPE_CHECKING:
    from kobox.box.inspect.probes import Hit

LOCKDOWN_LEVELS = ("integrity", "confidentiality")
# Newest first. Kernels without CONFIG_SECONDARY_TRUSTED_KEYRING have only the second one.
_KEYRINGS = (".secondary_trusted_keys", ".builtin_trusted_keys")
# What keyring_restrict_link calls for one of them: that depends on the configuration. key_task_permission is what
# would keep even root from writing to the second.
_RESTRICTIONS = (
    "restrict_link_by_builtin_trusted",
    "restrict_link_by_builtin_and_secondary_trusted",
    "restrict_link_by_builtin_secondary_and_machine",
    "restrict_link_by_digsig_builtin",
    "restrict_link_by_digsig_builtin_and_secondary",
    "key_task_permission",
)
_SIG_ENFORCE = "/sys/module/module/parameters/sig_enforce"
_LOCKDOWN = "/sys/kernel/security/lockdown"


def trust(box: BootedKernel, certificate: bytes) -> int:
    """Make the kernel trust an X.509 certificate (DER) for module signatures; the new key's serial number.

    Raises `SigningError` when the kernel does not take it, `KoboxError` when it has no keyring of trusted keys.
    """
    keyring = trusted_keyring(box)
    with ExitStack() as lifted:
        for name in _RESTRICTIONS:
            if name in box.inspect.symbols:
                lifted.enter_context(box.inspect.probes.add(name, lambda hit: hit.skip(0)))
        try:
            return box.syscall("add_key", "asymmetric", None, certificate, len(certificate), keyring)
        except OSError as error:
            raise _refusal(box, error) from error


def _refusal(box: BootedKernel, error: OSError) -> SigningError:
    if error.errno in (errno.ENOENT, errno.ENOPKG):  # crypto_alloc_akcipher, crypto_alloc_shash
        return SigningError(
            f"kernel {box.release} has no code for this certificate's kind of key or hash: {error.strerror}",
            hint="Every kernel that signs its modules knows RSA with sha256; ECDSA takes CONFIG_CRYPTO_ECDSA.",
        )
    return SigningError(f"kernel {box.release} does not take this certificate: {error.strerror}")


def trusted_keyring(box: BootedKernel) -> int:
    """The serial number of the keyring that module signatures are verified with."""
    rows = box.read_text("/proc/keys") if box.exists("/proc/keys") else ""
    for name in _KEYRINGS:
        found = re.search(rf"^([0-9a-f]+) .* keyring +{re.escape(name)}:", rows, re.MULTILINE)
        if found:
            return int(found[1], 16)
    raise KoboxError(
        f"kernel {box.release} has no keyring of trusted keys",
        hint="It takes CONFIG_MODULE_SIG and CONFIG_SYSTEM_TRUSTED_KEYRING.",
    )


def enforce_signatures(box: BootedKernel) -> None:
    """Make the kernel refuse modules without a valid signature, as `module.sig_enforce=1` does. There is no way back.

    Raises `KoboxError` when the kernel was built without module signatures.
    """
    try:
        box.write_bytes(_SIG_ENFORCE, b"Y")
    except OSError as error:
        raise KoboxError(
            f"kernel {box.release} cannot enforce module signatures: {_SIG_ENFORCE}: {error.strerror}",
            hint="It takes CONFIG_MODULE_SIG.",
        ) from error


def signature_answer(box: BootedKernel, module: bytes) -> tuple[int, list[str]]:
    """What a kernel that enforces signatures answers to a module's signature: (errno, or 0; its log lines).

    The module is not loaded: once module_sig_check() in kernel/module/signing.c has answered, the call ends. `module`
    are the bytes of the file, not compressed. Raises `KoboxError` when the kernel has no such function.
    """
    calls: list[int] = []
    answers: list[int] = []

    def called(hit: Hit) -> None:
        hit.data = not calls  # later ones are of modules that the first has the kernel load, for a hash, say
        calls.append(1)

    def answered(hit: Hit) -> None:
        if hit.data:
            answers.append(hit.result or 0)
            hit.set_result(-errno.ECANCELED)

    if "module_sig_check" not in box.inspect.symbols:
        raise KoboxError(f"kernel {box.release} has no module_sig_check(): it was built without CONFIG_MODULE_SIG")
    start = box.log.next_seq
    with box.inspect.probes.add("module_sig_check", called, on_return=answered):
        try:
            box.syscall("init_module", module, len(module), "")
        except OSError as error:
            if not answers:  # refused before: shorter than an ELF header, no memory
                return error.errno or errno.EIO, [record.text for record in box.log.since(start)]
    return -min(answers[0], 0), [record.text for record in box.log.since(start)]


def lock_down(box: BootedKernel, level: str) -> None:
    """Lock the kernel down (kernel_lockdown(7)) to "integrity" or "confidentiality". There is no way back."""
    if level not in LOCKDOWN_LEVELS:
        raise KoboxError(f"lockdown {level!r}: it is one of {', '.join(LOCKDOWN_LEVELS)}")
    try:
        box.write_bytes(_LOCKDOWN, level.encode())
    except OSError as error:
        raise KoboxError(
            f"kernel {box.release} cannot be locked down: {_LOCKDOWN}: {error.strerror}",
            hint="It takes CONFIG_SECURITY_LOCKDOWN_LSM, and `lockdown` among the security modules.",
        ) from error
