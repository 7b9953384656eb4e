"""The files of a container image, as `docker save`, `podman save` and `skopeo` write it: its layers.

    manifest.json    [{"Layers": [path, …]}], the lowest first                                     (docker save)
    index.json       → a manifest's digest → {"layers": [{"digest": …}, …]}, below blobs/sha256/   (OCI image layout)

A file of an upper layer hides the one below; `.wh.NAME` hides NAME of the layers below, `.wh..wh..opq` all that its
directory has there (https://github.com/opencontainers/image-spec/blob/main/layer.md#whiteouts).
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO

from kobox.json_text import parse_json

_MOST_MANIFEST = 16 << 20
_MOST_LAYERS = 1000
_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"


class ContainerLayers:
    """The layers of the one image in an archive."""

    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive

    def names(self) -> list[str]:
        """The layers' paths in the archive, the lowest first. Raises `ValueError` for a damaged image, or several."""
        try:
            names = self._docker() or self._oci()
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"a manifest that makes no sense: {error!r}") from None
        if not names or len(names) > _MOST_LAYERS or not all(isinstance(name, str) for name in names):
            raise ValueError("no layers, or too many")
        return names

    def open(self, name: str) -> IO[bytes]:
        """One layer, packed as it is. Raises `ValueError`."""
        try:
            file = self._archive.extractfile(name)
        except KeyError:
            file = None
        if file is None:
            raise ValueError(f"the layer {name!r} is not there")
        return file

    def _json(self, name: str) -> object:
        try:
            file = self._archive.extractfile(name)
        except KeyError:
            return None
        return parse_json(file.read(_MOST_MANIFEST)) if file is not None else None

    def _docker(self) -> list[str]:
        images = self._json("manifest.json")
        if not isinstance(images, list):
            return []
        if len(images) != 1:
            raise ValueError(f"{len(images)} images: save one of them alone")
        return list(images[0]["Layers"])

    def _oci(self) -> list[str]:
        found = self._json("index.json")
        for _ in range(3):  # an index may name another one
            if not isinstance(found, dict):
                break
            if "layers" in found:
                return [_blob(layer["digest"]) for layer in found["layers"]]
            manifests = [one for one in found["manifests"] if one.get("platform", {}).get("os") != "unknown"]
            if len(manifests) != 1:
                raise ValueError(f"{len(manifests)} images: save one of them alone")
            found = self._json(_blob(manifests[0]["digest"]))
        return []


class Overlay:
    """Which entries of layers are seen, from the top layer down."""

    def __init__(self) -> None:
        self._seen: set[PurePosixPath] = set()
        self._hidden: set[PurePosixPath] = set()
        self._hides: set[PurePosixPath] = set()  # below this layer

    def next_layer(self) -> None:
        """The next layer below begins."""
        self._hidden |= self._hides
        self._hides = set()

    def shows(self, name: str) -> bool:
        """Whether an entry of this layer is a file of the image."""
        path = PurePosixPath("/") / name
        if path.name == _OPAQUE:
            self._hides.add(path.parent)
            return False
        if path.name.startswith(_WHITEOUT):
            self._hides.add(path.with_name(path.name.removeprefix(_WHITEOUT)))
            return False
        if path in self._seen or self._hidden.intersection((path, *path.parents)):
            return False
        self._seen.add(path)
        return True


def is_container_image(names: Iterator[str]) -> bool:
    """Whether the first names of an archive's members are those of a container image."""
    known = ("manifest.json", "index.json", "oci-layout", "repositories")
    return any(name.removeprefix("./") in known or name.startswith("blobs/") for name in names)


def _blob(digest: str) -> str:
    algorithm, _, value = digest.partition(":")
    return f"blobs/{algorithm}/{value}"
