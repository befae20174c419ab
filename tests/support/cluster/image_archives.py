"""Image archives as ``docker save`` and ``podman save`` write them, and cutting them down for a node.

A node that has an image's lower layers already, from an earlier version of it, needs only the others. So an
archive is given to the nodes in the OCI layout, where layers may be missing: they are found by their digest.
The digest of the manifest written here depends on the image alone, and tells whether a node has it.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.support.cluster.commands import ClusterError

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

_OCI = "application/vnd.oci.image"
_LAYER = f"{_OCI}.layer.v1.tar"
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class Layer:
    """One layer: its digest and size, and where it is in the archive."""

    digest: str
    size: int
    member: str
    media_type: str


@dataclass(frozen=True)
class ArchivedImage:
    """One image of an archive, under all its names."""

    names: tuple[str, ...]
    config: bytes
    layers: tuple[Layer, ...]

    @property
    def manifest(self) -> bytes:
        """The OCI manifest; the same image always has the same."""
        config = {
            "mediaType": f"{_OCI}.config.v1+json",
            "digest": _digest(self.config),
            "size": len(self.config),
        }
        layers = [{"mediaType": x.media_type, "digest": x.digest, "size": x.size} for x in self.layers]
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{_OCI}.manifest.v1+json",
            "config": config,
            "layers": layers,
        }
        return json.dumps(manifest, separators=(",", ":")).encode()

    @property
    def digest(self) -> str:
        """By which a node knows the image."""
        return _digest(self.manifest)


def read(archive: Path) -> list[ArchivedImage]:
    """The images of an archive.

    Raises:
        ClusterError: it is no such archive.
    """
    try:
        with tarfile.open(archive) as tar:
            return [_image(tar, entry) for entry in json.loads(_content(tar, "manifest.json"))]
    except (OSError, KeyError, ValueError, tarfile.TarError) as error:
        raise ClusterError(f"{archive} is no image archive as `docker save` writes them: {error}") from error


def write_for_nodes(
    archive: Path, images: list[ArchivedImage], present: Collection[str], target: Path
) -> int:
    """Write an OCI archive of these images without the layers in `present`; returns the bytes left out."""
    left_out = 0
    done: set[str] = set(present)
    with tarfile.open(archive) as source, tarfile.open(target, "w") as out:
        index = []
        for image in images:
            for content in (image.config, image.manifest):
                _add(out, _blob(_digest(content)), content)
            for layer in image.layers:
                if layer.digest in done:
                    left_out += layer.size if layer.digest in present else 0
                    continue
                done.add(layer.digest)
                member = tarfile.TarInfo(_blob(layer.digest))
                member.size = layer.size
                out.addfile(member, source.extractfile(layer.member))
            entry = {
                "mediaType": f"{_OCI}.manifest.v1+json",
                "digest": image.digest,
                "size": len(image.manifest),
            }
            # containerd takes the name from this annotation.
            index += [{**entry, "annotations": {"io.containerd.image.name": name}} for name in image.names]
        _add(out, "index.json", json.dumps({"schemaVersion": 2, "manifests": index}).encode())
        _add(out, "oci-layout", json.dumps({"imageLayoutVersion": "1.0.0"}).encode())
    return left_out


def _image(tar: tarfile.TarFile, entry: dict[str, Any]) -> ArchivedImage:
    config = _content(tar, entry["Config"])
    unpacked = json.loads(config)["rootfs"]["diff_ids"]
    layers = tuple(
        _layer(tar, name, diff_id) for name, diff_id in zip(entry["Layers"], unpacked, strict=True)
    )
    return ArchivedImage(tuple(entry["RepoTags"] or ()), config, layers)


def _layer(tar: tarfile.TarFile, name: str, diff_id: str) -> Layer:
    file = tar.extractfile(name)
    if file is None:
        raise KeyError(name)
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    packed = file.read(2) == _GZIP
    digest = diff_id
    # Usually the file's name is its digest and need not be computed.
    if packed or diff_id.removeprefix("sha256:") not in name:
        file.seek(0)
        digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"  # type: ignore[arg-type]
    return Layer(digest, size, name, f"{_LAYER}+gzip" if packed else _LAYER)


def _content(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    if file is None:
        raise KeyError(name)
    return file.read()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
