"""Reading image archives and cutting them down to what a node lacks."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest
from tests.support.cluster.commands import ClusterError
from tests.support.cluster.image_archives import read, write_for_nodes

LOWER, UPPER = b"lower layer", b"upper layer"


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def blobs(*contents: bytes) -> set[str]:
    return {f"blobs/{digest(each).replace(':', '/')}" for each in contents}


def archive(path: Path, files: dict[str, bytes], names: list[str]) -> Path:
    """An archive whose layers are `files`: name in the archive and stored content."""
    unpacked = [gzip.decompress(x) if x.startswith(b"\x1f\x8b") else x for x in files.values()]
    config = json.dumps({"rootfs": {"diff_ids": [digest(each) for each in unpacked]}}).encode()
    manifest = [{"Config": "config.json", "RepoTags": names, "Layers": list(files)}]
    members = {**files, "config.json": config, "manifest.json": json.dumps(manifest).encode()}
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def by_digest(content: bytes) -> str:
    return f"{digest(content).removeprefix('sha256:')}.tar"


def test_a_layer_that_the_node_has_is_left_out(tmp_path: Path) -> None:
    files = {by_digest(LOWER): LOWER, by_digest(UPPER): UPPER}
    source = archive(tmp_path / "in.tar", files, ["app:1", "app:latest"])
    images = read(source)
    left_out = write_for_nodes(source, images, {digest(LOWER)}, tmp_path / "out.tar")
    assert left_out == len(LOWER)
    with tarfile.open(tmp_path / "out.tar") as out:
        names = set(out.getnames())
        index = json.load(out.extractfile("index.json") or io.BytesIO())
    (image,) = images
    assert names == blobs(UPPER, image.config, image.manifest) | {"index.json", "oci-layout"}
    assert {entry["annotations"]["io.containerd.image.name"] for entry in index["manifests"]} == {
        "app:1",
        "app:latest",
    }
    assert {entry["digest"] for entry in index["manifests"]} == {image.digest}


def test_the_digest_is_the_images_whatever_the_files_are_called(tmp_path: Path) -> None:
    (one,) = read(archive(tmp_path / "one.tar", {by_digest(LOWER): LOWER}, ["app:1"]))
    (two,) = read(archive(tmp_path / "two.tar", {"abc/layer.tar": LOWER}, ["app:2"]))
    (other,) = read(archive(tmp_path / "other.tar", {"abc/layer.tar": UPPER}, ["app:1"]))
    assert one.digest == two.digest != other.digest


def test_a_packed_layer_has_the_digest_of_its_packed_form(tmp_path: Path) -> None:
    packed = gzip.compress(LOWER)
    (image,) = read(archive(tmp_path / "in.tar", {by_digest(LOWER): packed}, ["app:1"]))
    (layer,) = image.layers
    assert layer.digest == digest(packed)
    assert layer.media_type.endswith("+gzip")
    assert layer.size == len(packed)


def test_what_is_no_archive_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("text")
    with tarfile.open(tmp_path / "empty.tar", "w"):
        pass
    for path in (tmp_path / "text", tmp_path / "empty.tar", tmp_path / "missing.tar"):
        with pytest.raises(ClusterError, match="no image archive"):
            read(path)
