"""Kubernetes, etcd and the tools around them, compiled from pinned Go modules.

The versions are in ``go/<module>/go.mod``, their checksums in ``go.sum``. The cache keeps the results in
``toolchain/<module>-<hash>/``; ``bin/<name>`` always points to the one of the current checkout.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from tests.support.cluster.cache import cache_dir, content_hash, locked, point_to, progress, work_folder
from tests.support.cluster.commands import ClusterError, CommandError, find_program, run
from tests.support.cluster.go_toolchain import go_program

MODULES = Path(__file__).parent / "go"
BUILD_FLAGS = ("-trimpath", "-buildvcs=false")
BUILD_TIMEOUT = 3600.0


@dataclass(frozen=True)
class Program:
    """A main package of one of the modules under ``go/``."""

    module: str
    package: str


_KUBERNETES = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "kubectl",
)
PROGRAMS = {
    **{n: Program("kubernetes", f"k8s.io/kubernetes/cmd/{n}") for n in (*_KUBERNETES, "kubeadm")},
    "etcd": Program("etcd", "go.etcd.io/etcd/server/v3"),
    "kind": Program("kind", "sigs.k8s.io/kind"),
    "coredns": Program("coredns", "github.com/coredns/coredns"),
    "helm": Program("helm", "helm.sh/helm/v4/cmd/helm"),
    "metrics-server": Program("metrics-server", "sigs.k8s.io/metrics-server/cmd/metrics-server"),
}
# Clients of a cluster: where Go is missing, one that is installed will do.
CLIENTS = ("kind", "kubectl", "helm")
CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")


def ensure(*names: str) -> dict[str, Path]:
    """Paths of the named programs; builds those that the cache does not have.

    Raises:
        ClusterError: Go is missing or too old, modules cannot be downloaded, or a build failed.
    """
    wanted: dict[str, list[str]] = {}
    found: dict[str, Path] = {}
    for name in names:
        installed = find_program(name) if name in CLIENTS and find_program("go") is None else None
        if installed is not None:
            found[name] = Path(installed)
            continue
        wanted.setdefault(PROGRAMS[name].module, []).append(name)
    for module, programs in wanted.items():
        folder = cache_dir() / "toolchain" / f"{module}-{module_hash(module)}"
        if not all((folder / name).exists() for name in programs):
            with locked(f"toolchain-{module}"):
                missing = [name for name in programs if not (folder / name).exists()]
                if missing:
                    _build(module, missing, folder)
        for name in programs:
            link = cache_dir() / "bin" / name
            point_to(link, folder / name)
            found[name] = folder / name
    return found


def module_hash(module: str) -> str:
    """Changes with everything that changes a module's programs."""
    source = MODULES / module
    return content_hash(source / "go.mod", source / "go.sum", *BUILD_FLAGS, _linker_flags(module))


def module_version(module: str, path: str) -> str:
    """The version of the Go module `path` that ``go/<module>/go.mod`` requires, such as ``v1.34.4``."""
    text = (MODULES / module / "go.mod").read_text()
    match = re.search(rf"^(?:require)?\s*{re.escape(path)} (v\S+)", text, re.MULTILINE)
    if match is None:
        raise ClusterError(f"{MODULES / module / 'go.mod'} does not require {path}")
    return match.group(1)


def module_source(module: str, path: str) -> Path:
    """Folder with the sources of a required module; downloads them if needed."""
    out = _go(module, ["list", "-m", "-f", "{{.Dir}}", path], saying=None, timeout=600)
    if not out.strip():
        _go(module, ["mod", "download", path], saying=f"downloading the sources of {path}", timeout=1200)
        out = _go(module, ["list", "-m", "-f", "{{.Dir}}", path], saying=None, timeout=600)
    return Path(out.strip())


def _linker_flags(module: str) -> str:
    flags = ["-s", "-w"]
    if module == "kubernetes":
        # Without a version the components call themselves v0.0.0 and refuse each other.
        version = module_version("kubernetes", "k8s.io/kubernetes")
        _, minor, _ = version.split(".")
        for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version"):
            values = {"gitVersion": version, "gitMajor": "1", "gitMinor": minor, "gitTreeState": "clean"}
            flags += [f"-X {package}.{key}={value}" for key, value in values.items()]
    return " ".join(flags)


def _build(module: str, names: list[str], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with work_folder(folder) as part:
        for name in names:
            arguments = ["build", *BUILD_FLAGS, "-ldflags", _linker_flags(module), "-o", str(part / name)]
            saying = f"building {name} from its Go module (once; minutes the first time)"
            _go(module, [*arguments, PROGRAMS[name].package], saying=saying, timeout=BUILD_TIMEOUT)
            (part / name).replace(folder / name)
            progress(f"built {name}")


def _go(module: str, arguments: list[str], *, saying: str | None, timeout: float) -> str:
    env = {key: value for key, value in os.environ.items() if key != "GOROOT"} | {"CGO_ENABLED": "0"}
    try:
        return run([go_program(), *arguments], timeout=timeout, env=env, cwd=MODULES / module, saying=saying)
    except CommandError as error:
        if re.search(r"dial tcp|no such host|GOPROXY|module lookup disabled|i/o timeout", error.output):
            raise ClusterError(
                f"the Go modules of {module} cannot be downloaded: set GOPROXY to a module proxy that "
                f"this machine reaches (`go env GOPROXY` says which is used)\n{error.output[-600:]}"
            ) from error
        raise
