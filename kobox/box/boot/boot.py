"""Boxes that know where their kernel's modules are: `box.modprobe`, and the answer when the kernel itself asks for one.

A kernel that misses something (a file system, a protocol, a cipher) runs /sbin/modprobe with the name or alias of the
module that would have it. In a box that program is kobox's own, and what it asks for comes from the kernel's tree.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from kobox.box.boot import bare_boot as booting
from kobox.errors import KoboxError, SigningError
from kobox.images.store import KernelImage, Store

if TYPE_CHECKING:
    from cryptography import x509

    from kobox.box.box import Box
    from kobox.kmod.modprobe import Loaded
    from kobox.kmod.module_tree import ModuleTree

Certificate: TypeAlias = "x509.Certificate | bytes | str | os.PathLike[str]"


def boot(
    kernel: str | KernelImage | None = None,
    *,
    memory: int = booting.MEMORY,
    cmdline: str = "",
    cpus: int = 1,
    profile: str = "fast",
    trust: Sequence[Certificate] = (),
    enforce_signatures: bool = False,
    lockdown: str = "",
    net: str = "",
    allow: Sequence[str] = (),
    store: Store | None = None,
    progress: booting.Progress | None = None,
) -> Box:
    """Boot a kernel, or resume the snapshot that an earlier boot left: a `Box`.

    `kernel` is a name in the cache, a path to a kernel image, or a `KernelImage`; None is the default one, which is
    fetched when the cache is empty. `memory` is in bytes; `cmdline` is added to the kernel's command line; `cpus` is
    how many CPUs the box has, up to 8 (arm64: one). `progress(what, done, total)` is called while that takes time.

    `profile="default"` boots the kernel as the distribution does: with mitigations, security modules, hashed pointers
    and the crypto API's self-tests, which "fast" leaves out. The CPU is one that Meltdown does not affect, and the
    kernel's own addresses are never random.

    `trust` are X.509 certificates that the kernel trusts as if they were built in: paths (PEM or DER), the bytes of
    such files, or certificates of the `cryptography` library. With `enforce_signatures` it refuses modules without a
    valid signature, as with `module.sig_enforce=1`; `lockdown` is "integrity" or "confidentiality".
    `box.reset()` keeps all three.

    `net="user"` gives the box a way out: TCP and UDP through sockets of this machine, to its own loopback addresses and
    to the networks in `allow` (`Network.user`).

    Raises `KernelNotFoundError`, `KernelImageError`, `FetchError`; `KernelPanicError` or `BoxHungError` when the kernel
    does not boot; `SigningError` for a file that is not a certificate, or a certificate that the kernel does not take;
    `KoboxError` when the snapshot cannot be kept, or the kernel was built without what is asked for.
    """
    certificates = [der for one in trust for der in _der(one)]
    image = kernel if isinstance(kernel, KernelImage) else (store or Store()).ensure(kernel, progress)
    box = booting.boot(image, memory=memory, cmdline=cmdline, cpus=cpus, profile=profile, progress=progress)
    attach_tree(box)
    try:
        _settle_trust(box, certificates, enforce_signatures, lockdown)
        if net:
            _settle_network(box, net, allow)
    except BaseException:
        box.close()
        raise
    return box


def _settle_trust(box: Box, certificates: list[bytes], enforce: bool, lockdown: str) -> None:
    """Make trust, enforcement and lockdown part of the state that the box begins with."""
    if not (certificates or enforce or lockdown):
        return
    from kobox.box import module_trust as keyrings

    for der in certificates:
        keyrings.trust(box, der)
    if enforce:
        keyrings.enforce_signatures(box)
    if lockdown:
        keyrings.lock_down(box, lockdown)
    box.set_reset_point()


def _settle_network(box: Box, net: str, allow: Sequence[str]) -> None:
    if net != "user":
        raise KoboxError(f"net={net!r}: no such network", hint='`net="user"` is the one there is.')
    box.network.user(allow)
    box.set_reset_point()


def _der(certificate: Certificate) -> list[bytes]:
    """The certificates that one of `trust` stands for, in DER. Raises `SigningError`, `OSError`."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    if isinstance(certificate, x509.Certificate):
        return [certificate.public_bytes(Encoding.DER)]
    data = certificate if isinstance(certificate, bytes) else Path(certificate).read_bytes()
    try:
        if b"-----BEGIN" in data:
            return [one.public_bytes(Encoding.DER) for one in x509.load_pem_x509_certificates(data)]
        return [x509.load_der_x509_certificate(data).public_bytes(Encoding.DER)]
    except ValueError:
        what = "these bytes are" if isinstance(certificate, bytes) else f"{os.fspath(certificate)}:"
        raise SigningError(f"{what} no X.509 certificate, neither PEM nor DER") from None


def tree_of(image: KernelImage) -> ModuleTree:
    """The module tree of a kernel in the cache; its indexes are made when it has none.

    Raises `KoboxError` when the kernel came without modules, or the indexes cannot be written.
    """
    from kobox.kmod.module_tree import ModuleTree

    if image.modules is None:
        raise KoboxError(
            f"{image.name}: this kernel came without modules", hint="Add it again with --modules DIRECTORY."
        )
    if not (image.modules / "modules.dep.bin").exists():
        _make_indexes(image.modules, image.release)
    return ModuleTree(str(image.modules))


def _make_indexes(modules: Path, release: str) -> None:
    from kobox.kmod.config.depmod_d import SearchConfig
    from kobox.kmod.index.generate import DepmodRequest, depmod
    from kobox.kmod.index.write import write

    outcome = depmod(DepmodRequest(os.fspath(modules), SearchConfig.load(release, ()), use_cache=False))
    write(outcome, os.fspath(modules))


def attach_tree(box: Box) -> None:
    """Let `box.modprobe` and the kernel's own requests load modules of the kernel's tree."""

    def load(name: str, parameters: str) -> Loaded:
        from kobox.kmod.modprobe import modprobe
        from kobox.kmod.plan import ModuleNotFoundInTreeError

        tree = tree_of(box.image)
        if box.guest.is_serving and not tree.lookup(name):
            raise ModuleNotFoundInTreeError(f"Module {name} not found in directory {tree.directory}", name=name)
        return modprobe(box, tree, name, parameters)

    box.events.load.subscribe(load)
