"""A kernel in the directory where it was built: image, modules in place, headers (`make O=DIR`, or the source itself).

arch/x86/boot/bzImage           the image; arch/arm64/boot/Image, arch/riscv/boot/Image
modules.order, drivers/…/*.ko   the modules, copied into a tree as `make modules_install` lays it out
.config, Module.symvers         what builds modules: the directory itself serves as headers, where it lies
"""

from __future__ import annotations

import shutil
from pathlib import Path

from kobox.errors import KernelImageError
from kobox.images.identify import identify
from kobox.images.kernel_image import KernelImage, Progress, is_plain

_IMAGES = (
    "arch/x86/boot/bzImage",
    "arch/arm64/boot/Image",
    "arch/arm64/boot/Image.gz",
    "arch/riscv/boot/Image",
    "arch/riscv/boot/Image.gz",
    "vmlinux",
)
_LISTS = ("modules.builtin", "modules.builtin.modinfo")


def copy_build(tree: Path, into: Path, progress: Progress) -> KernelImage:
    """Copy image, modules and configuration into a directory; the image's `digest` is left open.

    Raises `KernelImageError` for a directory without a kernel, `OSError`.
    """
    image = next((tree / name for name in _IMAGES if (tree / name).is_file()), None)
    if image is None:
        raise KernelImageError(
            f"{tree}: no kernel was built there: none of {', '.join(_IMAGES)}",
            hint="`make bzImage modules` builds one (arm64, riscv64: `make Image modules`); name the directory of O=.",
        )
    known = identify(image)
    if not is_plain(known.release):
        raise KernelImageError(f"{image}: its release {known.release!r} cannot be a file's name")
    vmlinuz = into / f"vmlinuz-{known.release}"
    shutil.copyfile(image, vmlinuz)
    if (tree / ".config").is_file():
        shutil.copyfile(tree / ".config", into / f"config-{known.release}")
    modules = _copy_modules(tree, into / "lib/modules" / known.release, progress)
    headers = tree.resolve() if (tree / "scripts/mod/modpost").is_file() and (tree / "Makefile").is_file() else None
    return KernelImage(
        known.release, known.release, vmlinuz, modules, headers, str(tree.resolve()), into, "", known.architecture
    )


def _copy_modules(tree: Path, place: Path, progress: Progress) -> Path | None:
    """The modules that modules.order names, below `place`/kernel; None where it names none."""
    order = tree / "modules.order"
    lines = order.read_text(errors="surrogateescape").split() if order.is_file() else []
    names = [Path(line).with_suffix(".ko") for line in lines]
    missing = [name for name in names if name.is_absolute() or ".." in name.parts or not (tree / name).is_file()]
    if missing:
        raise KernelImageError(
            f"{tree}: modules.order names {missing[0]}, which is not there",
            hint="`make modules` builds what is missing.",
        )
    for number, name in enumerate(names):
        progress("copying modules", number, 0)
        (place / "kernel" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(tree / name, place / "kernel" / name)
    if not names:
        return None
    (place / "modules.order").write_text("".join(f"kernel/{name}\n" for name in names))
    for one in _LISTS:
        if (tree / one).is_file():
            shutil.copyfile(tree / one, place / one)
    return place
