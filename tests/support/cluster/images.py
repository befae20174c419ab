"""The project's container images as archives, ready to be loaded into the nodes of a cluster.

Each image is named by the hash of everything that goes into it, so an unchanged one is neither built nor
loaded again and needs no network. With Docker or Podman that reach a registry the Dockerfiles are built as
they are; else (root on Debian) with our own buildah, on a base made from Debian packages.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.cluster import packages, providers, rootfs
from tests.support.cluster.cache import REPOSITORY, cache_dir, content_hash, locked, progress, work_folder
from tests.support.cluster.commands import ClusterError, CommandError, run
from tests.support.cluster.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.cluster.rootfs import RootFs

_OFFICIAL_PYTHON = "docker.io/library/python:3.11-slim-bookworm"
_OFFICIAL_REDIS = "docker.io/library/redis:7.2-bookworm"
# What goes into the wheel, or decides what does.
_WHEEL_SOURCES = ("pyproject.toml", "README.md", "LICENSE", "cli", "operator", "runtime_image", "crds")
_BUILD_TIMEOUT = 1800.0
_OWN = "own"
# Older archives of an image are deleted.
_KEEP = 3
# Unnamed images that are kept, as a cache of build steps.
_STEPS = 100


@dataclass(frozen=True)
class Image:
    """An image of the project.

    Attributes:
        dockerfile: relative to the repository.
        context: files and folders for the build, relative to the repository; their place in the build context
            is the same, or if `flat` its root.
        wheel: the wheel of the project is needed, in ``dist/``.
        base: what replaces the base image where no registry is reached.
        alias: a fixed second name, for manifests that users apply as they are.
        official: an image that is as good, where a registry is reached.
    """

    dockerfile: str
    context: tuple[str, ...]
    base: RootFs = rootfs.PYTHON
    flat: bool = False
    wheel: bool = False
    alias: str | None = None
    official: str | None = None


IMAGES = {
    "runtime": Image("runtime_image/Dockerfile", ("requirements/runtime.lock",), wheel=True),
    "operator": Image("operator/Dockerfile", ("requirements/operator.lock",), wheel=True),
    "model": Image(
        "examples/quickstart/model/Dockerfile",
        ("examples/quickstart/model",),
        flat=True,
        alias="localhost/aixgo-model:quickstart",
    ),
    "redis": Image(
        "tests/support/cluster/redis/Dockerfile",
        ("tests/support/cluster/redis",),
        base=rootfs.REDIS,
        flat=True,
        official=_OFFICIAL_REDIS,
    ),
}


def build(*names: str) -> dict[str, tuple[str, Path]]:
    """Build the named images, or all: per name the reference (``localhost/aixgo-<name>:<hash>``) and archive.

    Raises:
        ClusterError: a name is unknown, something is missing on this machine, or a build failed.
    """
    unknown = set(names) - set(IMAGES)
    if unknown:
        raise CommandError(["images", *sorted(unknown)], f"there are only: {', '.join(IMAGES)}", "")
    tool = _tool()
    sources = _sources_hash()
    result = {name: _wanted(name, sources, own=tool == _OWN) for name in names or IMAGES}
    if all(archive.exists() for _, archive in result.values()):
        for _, archive in result.values():
            os.utime(archive)  # pruning goes by last use
        return result
    with locked("images"), _builder(tool) as builder:
        sources, wheel = _wheel()
        result = {name: _wanted(name, sources, own=tool == _OWN) for name in result}
        for name, (reference, archive) in result.items():
            if not archive.exists():
                begin = time.monotonic()
                builder.build(name, IMAGES[name], wheel, reference, archive)
                size = archive.stat().st_size / 1e6
                progress(f"built {reference} in {time.monotonic() - begin:.0f} s, {size:.0f} MB")
                _prune(name, builder)
    return result


def _wanted(name: str, sources: str, *, own: bool) -> tuple[str, Path]:
    image = IMAGES[name]
    parts: list[str | Path] = [REPOSITORY / image.dockerfile, image.alias or ""]
    parts.append(image.base.hash if own else (image.official or _OFFICIAL_PYTHON))
    for path in _files(image.context):
        parts += [str(path.relative_to(REPOSITORY)), path]
    if image.wheel:
        parts.append(sources)
    key = content_hash(*parts)
    return f"localhost/aixgo-{name}:{key}", cache_dir() / "images" / f"{name}-{key}.tar"


class _Builder:
    """Docker or Podman of this machine."""

    def __init__(self, tool: str) -> None:
        self._command = [tool]
        self._env = dict(os.environ)
        self._build = [tool, "build"]

    def build(self, name: str, image: Image, wheel: Path, reference: str, archive: Path) -> None:
        with work_folder(archive) as folder:
            if self.replaces(image):
                assert image.official is not None
                self._run([*self._command, "pull", image.official], saying=f"pulling {image.official}")
                self._run([*self._command, "tag", image.official, reference])
            else:
                context = folder / "context"
                _stage(image, wheel, context)
                options = ["--file", str(context / "Dockerfile"), "--tag", reference]
                options += self.base_options(image)
                # Without a value the option takes it from the environment: it is in no command line.
                for variable in ("PIP_INDEX_URL", "PIP_CERT"):
                    if os.environ.get(variable):
                        options += ["--build-arg", variable]
                self._run([*self._build, *options, str(context)], saying=f"building the image '{name}'")
            names = [reference]
            if image.alias:
                self._run([*self._command, "tag", reference, image.alias])
                names.append(image.alias)
            part = folder / "image.tar"
            self._save(names, part)
            part.replace(archive)

    def replaces(self, image: Image) -> bool:
        """Whether the official image is pulled instead of a build."""
        return image.official is not None

    def base_options(self, image: Image) -> list[str]:
        """Options that choose the base image."""
        del image
        return []

    def forget(self, reference: str) -> None:
        """Delete an image."""
        with contextlib.suppress(CommandError):
            self._run([*self._command, "rmi", reference])

    def _save(self, names: list[str], path: Path) -> None:
        self._run([*self._command, "save", "--output", str(path), *names])

    def _run(self, argv: list[str], *, saying: str | None = None) -> None:
        run(argv, timeout=_BUILD_TIMEOUT, env=self._env, saying=saying)


class _OwnBuilder(_Builder):
    """Our own buildah, on bases made from Debian packages."""

    def __init__(self, engine: Engine) -> None:
        super().__init__("podman")
        self._engine = engine
        self._env = engine.env
        # Of this machine for the build only: its network, and the certificates that its package index needs.
        self._build = ["buildah", "build", "--quiet", "--layers", "--network", "host"]
        self._build += ["--volume", "/etc/ssl/certs:/etc/ssl/certs:ro"]

    def replaces(self, image: Image) -> bool:
        del image
        return False

    def base_options(self, image: Image) -> list[str]:
        name = f"localhost/aixgo-base-{image.base.name}:{image.base.hash}"
        if not self._engine.has_image(name):
            container = self._engine.buildah("from", "scratch").strip()
            self._engine.buildah("add", "--quiet", container, image.base.ensure(), "/")
            path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
            self._engine.buildah("config", "--env", path, container)
            self._engine.buildah("commit", "--quiet", "--rm", container, name)
        return ["--build-arg", f"BASE_IMAGE={name}"]

    def _save(self, names: list[str], path: Path) -> None:
        options = ["--quiet", "--multi-image-archive", "--format", "docker-archive"]
        self._run([*self._command, "save", *options, "--output", str(path), *names])


@contextlib.contextmanager
def _builder(tool: str) -> Iterator[_Builder]:
    if tool != _OWN:
        yield _Builder(tool)
        return
    packages.require(packages.ENGINE, what_for="building images without Docker")
    engine = Engine("build")
    try:
        engine.buildah("rm", "--all")  # working containers of an interrupted run
        # Every build leaves an unnamed image or two. Deleting them can cost the next build its cached steps.
        if len(engine.podman("images", "--all", "--quiet", "--filter", "dangling=true").split()) > _STEPS:
            engine.podman("image", "prune", "--force", timeout=600, saying="deleting old build steps")
        yield _OwnBuilder(engine)
    finally:
        engine.close()


def _tool() -> str:
    """What builds: docker, podman or our own engine. Remembered, so that later no registry is asked."""
    forced = os.environ.get("AIXGO_KIND_PROVIDER")
    if forced:
        return forced
    remembered = cache_dir() / "builder"
    if not remembered.exists():
        remembered.write_text(providers.engine_that_can_have(_OFFICIAL_PYTHON) or _OWN)
    return remembered.read_text()


def _stage(image: Image, wheel: Path, context: Path) -> None:
    """Fill a build context with exactly the files that the image's name is made of."""
    for path in _files(image.context):
        start = REPOSITORY / image.context[0] if image.flat else REPOSITORY
        target = context / path.relative_to(start)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    shutil.copyfile(REPOSITORY / image.dockerfile, context / "Dockerfile")
    if image.wheel:
        (context / "dist").mkdir()
        shutil.copyfile(wheel, context / "dist" / wheel.name)


def _wheel() -> tuple[str, Path]:
    """Hash of the sources, and the wheel out of just these; built on this machine without a network."""
    folders = cache_dir() / "wheels"
    for _ in range(5):
        sources = _sources_hash()
        folder = folders / sources
        if not folder.exists():
            with work_folder(folder) as part:
                argv: list[str | Path] = [
                    sys.executable,
                    "-m",
                    "hatchling",
                    "build",
                    "-t",
                    "wheel",
                    "-d",
                    part / "dist",
                ]
                run(argv, timeout=120, cwd=REPOSITORY, saying="building the wheel")
                if _sources_hash() != sources:
                    continue  # somebody is editing
                (part / "dist").replace(folder)
            for old in sorted(folders.iterdir(), key=lambda path: path.stat().st_mtime)[:-_KEEP]:
                shutil.rmtree(old, ignore_errors=True)
        return sources, next(folder.glob("aixgo-*.whl"))
    raise ClusterError("the sources kept changing while the wheel was built; try again")


def _sources_hash() -> str:
    parts: list[str | Path] = []
    for path in _files(_WHEEL_SOURCES):
        parts += [str(path.relative_to(REPOSITORY)), path]
    return content_hash(*parts)


def _files(names: tuple[str, ...]) -> list[Path]:
    """The files below these names of the repository, in a fixed order, without what Python leaves there."""
    found: list[Path] = []
    for name in names:
        path = REPOSITORY / name
        found += [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    return [path for path in found if "__pycache__" not in path.parts]


def _prune(name: str, builder: _Builder) -> None:
    """Delete archives that have not been used for longest."""
    archives = sorted((cache_dir() / "images").glob(f"{name}-*.tar"), key=lambda path: path.stat().st_mtime)
    for archive in archives[:-_KEEP]:
        archive.unlink()
        builder.forget(f"localhost/aixgo-{name}:{archive.stem.removeprefix(f'{name}-')}")
