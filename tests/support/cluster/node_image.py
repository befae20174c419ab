"""The image of a kind node, made here, for machines that reach no image registry.

It is kind's own base image, rebuilt from the files in kind's Go module on a Debian tree, plus Kubernetes and
the images of its components. What `kind build node-image` would pull is compiled from Go modules.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.cluster import binaries, rootfs
from tests.support.cluster.cache import cache_dir, content_hash, progress, work_folder
from tests.support.cluster.commands import ClusterError, daemon, run, succeeds

if TYPE_CHECKING:
    from tests.support.cluster.engine import Engine

DATA = Path(__file__).parent / "node"
KUBERNETES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy")
ON_NODE = ("kubelet", "kubectl", "kubeadm")
PROGRAMS = (*KUBERNETES, *ON_NODE, "etcd", "coredns", "kind")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_BASE = "localhost/aixgo-node-base:" + rootfs.NETWORK.hash


def reference() -> str:
    """Name of the image that belongs to the current sources; the same inputs give the same name."""
    modules = [binaries.module_hash(m) for m in ("kubernetes", "etcd", "coredns", "kind")]
    files = sorted(path for path in DATA.iterdir() if path.is_file())
    key = content_hash(*modules, rootfs.NODE.hash, rootfs.NETWORK.hash, *files, Path(__file__))
    return f"localhost/aixgo-node:{key}"


def ensure(engine: Engine) -> str:
    """Name of the node image; built if the engine does not have it. The caller holds the engine's lock."""
    name = reference()
    if engine.has_image(name):
        return name
    programs = binaries.ensure(*PROGRAMS)
    trees = {tree.name: tree.ensure() for tree in (rootfs.NODE, rootfs.NETWORK)}
    engine.prepare()
    engine.discard_leftovers()
    begin = time.monotonic()
    progress("building the node image (once; about a minute)")
    folder = engine.run_folder / "node-image"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        components = _component_images(engine, programs, trees["network"], _tags(programs["kubeadm"]), folder)
        _node(engine, programs, trees["node"], components, folder, name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    engine.discard_leftovers()
    progress(f"built the node image in {time.monotonic() - begin:.0f} s")
    return name


def metrics_server(engine: Engine) -> tuple[str, Path]:
    """Name and archive of an image of metrics-server; built if the cache does not have it."""
    key = binaries.module_hash("metrics-server")
    name = f"localhost/metrics-server:{key}"
    archive = cache_dir() / "images" / f"metrics-server-{key}.tar"
    if not archive.exists():
        target = "/metrics-server"
        files = {binaries.ensure("metrics-server")["metrics-server"]: target}
        with work_folder(archive) as folder:
            _image(engine, name, [target], files, "scratch")
            _save(engine, [name], folder / "image.tar")
            (folder / "image.tar").replace(archive)
    return name, archive


def _tags(kubeadm: Path) -> dict[str, str]:
    """The names under which kubeadm asks for the components' images; what is inside them is ours."""
    version = binaries.module_version("kubernetes", "k8s.io/kubernetes")
    listed = run([kubeadm, "config", "images", "list", "--kubernetes-version", version], timeout=30).split()
    return {name.rsplit("/", 1)[1].split(":")[0]: name for name in listed}


def _component_images(
    engine: Engine, programs: dict[str, Path], base: Path, tags: dict[str, str], folder: Path
) -> Path:
    """All component images in one archive, so that their common layers are in it once."""
    if not engine.has_image(_BASE):
        container = engine.buildah("from", "scratch").strip()
        engine.buildah("add", "--quiet", container, base, "/")
        engine.buildah("commit", "--quiet", "--rm", container, _BASE)
    names: list[str] = []

    def image(name: str, entrypoint: list[str], files: dict[Path, str], parent: str = "scratch") -> None:
        _image(engine, name, entrypoint, files, parent)
        names.append(name)

    for program in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd"):
        target = f"/usr/local/bin/{program}"
        image(tags[program], [target], {programs[program]: target})
    image(tags["coredns"], ["/coredns"], {programs["coredns"]: "/coredns"})
    image(tags["pause"], ["/pause", "-P"], {Path("/usr/bin/catatonit"): "/pause"})
    image(tags["kube-proxy"], [], {programs["kube-proxy"]: "/usr/local/bin/kube-proxy"}, _BASE)
    files = {programs["kubectl"]: "/usr/local/bin/kubectl", DATA / "pod-network.sh": "/pod-network.sh"}
    image("localhost/pod-network:1", ["/pod-network.sh"], files, _BASE)
    archive = folder / "components.tar"
    _save(engine, names, archive)
    return archive


def _image(engine: Engine, name: str, entrypoint: list[str], files: dict[Path, str], parent: str) -> None:
    container = engine.buildah("from", parent).strip()
    for source, target in files.items():
        engine.buildah("add", "--quiet", "--chmod", "0755", container, source, target)
    engine.buildah("config", "--env", f"PATH={_PATH}", "--entrypoint", json.dumps(entrypoint), container)
    engine.buildah("commit", "--quiet", "--rm", container, name)


def _save(engine: Engine, names: list[str], archive: Path) -> None:
    engine.podman("save", "--quiet", "-m", "--format", "docker-archive", "-o", archive, *names, timeout=300)
    engine.podman("rmi", *names)


def _node(
    engine: Engine, programs: dict[str, Path], tree: Path, components: Path, folder: Path, name: str
) -> None:
    container = engine.buildah("from", "scratch").strip()
    root = Path(engine.buildah("mount", container).strip())
    run(["tar", "-C", root, "-xf", tree], timeout=300)
    _kind_base_files(root)
    _services(root)
    for program in ON_NODE:
        _install(programs[program], root / "usr/bin" / program)
    _install(DATA / "crictl", root / "usr/local/bin/crictl")
    # Where kind looks: the Kubernetes version, the pod network and the storage class.
    version = binaries.module_version("kubernetes", "k8s.io/kubernetes")
    (root / "kind/version").write_text(version)
    (root / "kind/manifests").mkdir(exist_ok=True)
    shutil.copyfile(DATA / "pod-network.yaml", root / "kind/manifests/default-cni.yaml")
    shutil.copyfile(DATA / "storage.yaml", root / "kind/manifests/default-storage.yaml")
    shutil.copyfile(DATA / "audit-policy.yaml", root / "kind/audit-policy.yaml")
    (root / "etc/machine-id").write_text("")
    _container_runtime(root, _tags(programs["kubeadm"])["pause"])
    _import(components, root, folder)
    engine.buildah("umount", container)
    options = ["--env", "container=docker", "--stop-signal", "SIGRTMIN+3", "--cmd", ""]
    entrypoint = json.dumps(["/usr/local/bin/entrypoint", "/sbin/init"])
    engine.buildah("config", *options, "--entrypoint", entrypoint, container)
    engine.buildah("commit", "--quiet", "--rm", container, name)


def _kind_base_files(root: Path) -> None:
    source = binaries.module_source("kind", "sigs.k8s.io/kind") / "images/base/files"
    for path in sorted(source.rglob("*")):
        target = root / path.relative_to(source)
        if path.is_dir():
            target.mkdir(mode=0o755, exist_ok=True)
        else:
            shutil.copyfile(path, target)
            # The module cache has neither modes nor owners of its own.
            executable = target.parent in (root / "kind/bin", root / "usr/local/bin")
            target.chmod(0o755 if executable else 0o644)


def _services(root: Path) -> None:
    """What kind's Dockerfile does in its RUN steps: of systemd only what a node needs."""
    units = root / "lib/systemd/system"
    for wanted in ("multi-user.target.wants/*", "local-fs.target.wants/*", "basic.target.wants/*"):
        _delete(units, wanted)
    _delete(units, "sockets.target.wants/*udev*")
    _delete(units, "sockets.target.wants/*initctl*")
    _delete(units, "sysinit.target.wants/systemd-tmpfiles-setup.service")
    _delete(root / "etc/systemd/system", "*.wants/*")
    with (root / "etc/systemd/journald.conf").open("a") as file:
        file.write("ReadKMsg=no\n")
    init = root / "sbin/init"
    init.unlink(missing_ok=True)
    init.symlink_to("/usr/lib/systemd/systemd")
    shutil.copyfile(DATA / "volumes.service", root / "etc/systemd/system/volumes.service")
    systemctl = ["systemctl", "--quiet", f"--root={root}"]
    services = ("volumes", "kubelet", "containerd", "undo-mount-hacks")
    run([*systemctl, "enable", *(f"{service}.service" for service in services)], timeout=30)
    run([*systemctl, "mask", "systemd-binfmt.service"], timeout=30)
    (root / "etc/kubernetes/manifests").mkdir(parents=True, exist_ok=True)


def _container_runtime(root: Path, pause: str) -> None:
    """Debian's containerd, runc and CNI plugins at the places where kind expects its own."""
    for program in ("containerd", "ctr", "containerd-shim-runc-v2"):
        (root / "usr/local/bin" / program).symlink_to(f"/usr/bin/{program}")
    (root / "usr/local/sbin/runc").symlink_to("/usr/sbin/runc")
    (root / "opt/cni/bin").mkdir(parents=True, exist_ok=True)
    (root / "etc/cni/net.d").mkdir(parents=True, exist_ok=True)
    for plugin in ("host-local", "loopback", "ptp", "portmap"):
        _install(root / "usr/lib/cni" / plugin, root / "opt/cni/bin" / plugin)
    spec = json.loads(run(["ctr", "oci", "spec"], timeout=30))
    hooks = spec.setdefault("hooks", {}).setdefault("createContainer", [])
    hooks.append({"path": "/kind/bin/mount-product-files.sh"})
    spec["process"].pop("rlimits", None)
    (root / "etc/containerd/cri-base.json").write_text(json.dumps(spec))
    config = root / "etc/containerd/config.toml"
    lines = []
    for line in config.read_text().splitlines():
        # Without CAP_SYS_RESOURCE no process may lower its score.
        changed = line.replace("restrict_oom_score_adj = false", "restrict_oom_score_adj = true")
        if changed.strip().startswith("sandbox_image"):
            changed = f'  sandbox_image = "{pause}"'
        lines.append(changed)
    lines += [
        '[plugins."io.containerd.grpc.v1.cri".cni]',
        '  bin_dir = "/opt/cni/bin"',
        '  conf_dir = "/etc/cni/net.d"',
    ]
    config.write_text("\n".join(lines) + "\n")


def _import(archive: Path, root: Path, folder: Path) -> None:
    """Put the component images into the node's containerd.

    By a containerd that runs here on the node's folder, and without unpacking: each is unpacked when first
    used, as with `kind build node-image`.
    """
    state = folder / "containerd"
    state.mkdir()
    disabled = ["io.containerd.grpc.v1.cri"]
    disabled += [f"io.containerd.snapshotter.v1.{name}" for name in ("btrfs", "zfs", "aufs", "devmapper")]
    address = state / "socket"
    (state / "config.toml").write_text(
        f'version = 2\nroot = "{root}/var/lib/containerd"\nstate = "{state}/run"\n'
        f"disabled_plugins = {json.dumps(disabled)}\n"
        f'[grpc]\n  address = "{address}"\n[ttrpc]\n  address = "{address}.ttrpc"\n'
    )
    ctr = ["ctr", "--address", str(address), "--namespace", "k8s.io"]
    with (
        (state / "log").open("wb") as log,
        daemon(["containerd", "--config", state / "config.toml"], log=log),
    ):
        end = time.monotonic() + 30
        while not succeeds([*ctr, "version"], timeout=5):
            if time.monotonic() > end:
                raise ClusterError(f"containerd did not start\n{(state / 'log').read_text()[-2000:]}")
            time.sleep(0.1)
        run([*ctr, "images", "import", "--all-platforms", "--no-unpack", archive], timeout=300)


def _install(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    target.chmod(0o755)


def _delete(folder: Path, pattern: str) -> None:
    for path in folder.glob(pattern):
        path.unlink()
