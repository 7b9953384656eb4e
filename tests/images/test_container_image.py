"""Kernels in images of containers: both layouts, layers on top of each other, and images that mean harm."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from kobox.errors import KernelImageError
from kobox.images.container_image import Overlay
from kobox.images.package_file import is_package
from kobox.images.store import KernelImage, Store
from tests.images.test_package_file import Files, tar_of


def docker(layers: list[Files]) -> bytes:
    """As `docker save` wrote it up to version 24: layers unpacked."""
    files: Files = {f"{number}/layer.tar": tar_of(layer) for number, layer in enumerate(layers)}
    files["manifest.json"] = json.dumps([{"Config": "c.json", "Layers": list(files)}]).encode()
    return tar_of(files)


def oci(layers: list[Files], pack: Callable[[bytes], bytes] = gzip.compress, nested: bool = False) -> bytes:
    """The OCI image layout, with packed layers."""
    blobs: Files = {}

    def blob(content: bytes) -> dict[str, str | int]:
        digest = hashlib.sha256(content).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = content
        return {"digest": f"sha256:{digest}", "size": len(content)}

    found = blob(json.dumps({"layers": [blob(pack(tar_of(layer))) for layer in layers]}).encode())
    if nested:
        other = {**blob(b"{}"), "platform": {"os": "unknown"}}
        found = blob(json.dumps({"manifests": [found, other]}).encode())
    return tar_of({**blobs, "oci-layout": b"{}", "index.json": json.dumps({"manifests": [found]}).encode()})


LAYOUTS: dict[str, Callable[[list[Files]], bytes]] = {
    "docker": docker,
    "oci-gzip": oci,
    "oci-zstd": lambda layers: oci(layers, zstandard.compress),
    "oci-plain": lambda layers: oci(layers, bytes),
    "oci-nested": lambda layers: oci(layers, nested=True),
}


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_a_kernel_is_what_all_layers_together_show(layout: str, debian_kernel: KernelImage, tmp_path: Path) -> None:
    release = debian_kernel.release
    tree = f"usr/lib/modules/{release}"
    layers: list[Files] = [
        {
            "etc/os-release": b"x",
            f"{tree}/vmlinuz": b"an old one",
            f"{tree}/kernel/a.ko": b"a",
            f"{tree}/kernel/b.ko": b"b",
        },
        {f"{tree}/vmlinuz": debian_kernel.vmlinuz.read_bytes(), f"{tree}/kernel/old/c.ko": b"c"},
        {f"{tree}/kernel/.wh.b.ko": b"", f"{tree}/kernel/old/.wh..wh..opq": b"", f"{tree}/kernel/old/d.ko": b"d"},
    ]
    path = tmp_path / "image.tar"
    path.write_bytes(LAYOUTS[layout](layers))
    assert is_package(path)
    kernel = Store(tmp_path / "cache").add(str(path))
    assert kernel.vmlinuz.read_bytes() == debian_kernel.vmlinuz.read_bytes()
    assert kernel.modules is not None
    names = {str(one.relative_to(kernel.modules)) for one in kernel.modules.rglob("*") if one.is_file()}
    assert names == {"vmlinuz", "kernel/a.ko", "kernel/old/d.ko"}


def damaged(text: bytes, name: str = "manifest.json") -> bytes:
    """An image whose manifest is something else."""
    return tar_of({name: text, "l.tar": tar_of({})})


HARM = {
    "no json": damaged(b"{"),
    "no layers": damaged(b'[{"Layers": []}]'),
    "a layer that is a number": damaged(b'[{"Layers": [1]}]'),
    "a layer that is not there": damaged(b'[{"Layers": ["../x"]}]'),
    "two images": damaged(b'[{"Layers": ["l.tar"]}, {"Layers": ["l.tar"]}]'),
    "deep": damaged(b"[" * 100_000),
    "no manifest": damaged(b"{}", "index.json"),
    "an index of itself": damaged(b'{"manifests": [{"digest": "index"}]}', "index.json"),
    "no kernel": docker([{"boot/vmlinuz": b"x"}]),
    "out of the root": docker([{"../outside": b"x", "boot/../../outside": b"x"}]),
}


@pytest.mark.parametrize("name", list(HARM))
def test_an_image_that_means_harm_is_refused_by_name(name: str, tmp_path: Path) -> None:
    path = tmp_path / "in" / "image.tar"
    path.parent.mkdir()
    path.write_bytes(HARM[name])
    store = Store(tmp_path / "in" / "cache")
    with pytest.raises(KernelImageError, match=r"image\.tar"):
        store.add(str(path))
    assert store.list() == []
    assert not list(tmp_path.glob("**/outside"))


def test_an_upper_whiteout_does_not_hide_its_own_layer() -> None:
    overlay = Overlay()
    assert not overlay.shows("d/.wh.x")
    assert overlay.shows("d/x")  # in the same layer
    overlay.next_layer()
    assert not overlay.shows("d/x")
    assert not overlay.shows("d/x/below")
    assert overlay.shows("d/y")
