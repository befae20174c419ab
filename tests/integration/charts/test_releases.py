"""Releases of the charts: installed, upgraded, uninstalled, and what they leave behind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from tests.support.charts import CHARTS, FIRST_VALUES, NAMESPACE, NAMESPACED, Helm
from tests.support.crds import wait_for_crds
from tests.support.hook_pods import uninstall
from tests.support.waiting import wait_until

from aixgo_operator.api.constants import CA_SECRET_NAME, FINALIZER_SESSION_PROTECTION, LEASE_NAME
from aixgo_operator.domain.settings import OperatorSettings

pytestmark = pytest.mark.apiserver


class TestReleases:
    def test_crds_survive_their_chart_unless_told_otherwise(self, helm: Helm) -> None:
        chart = str(CHARTS / "aixgo-crds")
        helm("upgrade", "--install", "aixgo-crds", chart)
        wait_for_crds(helm.plane)
        runtime = {"apiVersion": "aixgo.dev/v1alpha1", "kind": "AgentRuntime", "metadata": {"name": "kept"}}
        helm.plane.kubectl("create", "-f", "-", input=json.dumps(runtime | {"spec": {}}))
        helm("uninstall", "aixgo-crds")
        assert "kept" in helm.plane.kubectl("get", "agentruntimes")
        # A new release takes them over again.
        helm("upgrade", "--install", "aixgo-crds", chart, "--set", "crds.keep=false")
        assert "kept" in helm.plane.kubectl("get", "agentruntimes")
        helm("uninstall", "aixgo-crds")

        def gone() -> bool:
            return "aixgo.dev" not in helm.plane.kubectl("get", "crd", "-o", "name")

        wait_until(gone, "the definitions are gone", timeout=60)

    def test_upgrade_keeps_the_lease_and_uninstall_leaves_only_the_authority(
        self, helm: Helm, tmp_path: Path
    ) -> None:
        def install(*arguments: str) -> None:
            chart = str(CHARTS / "aixgo-operator")
            helm("upgrade", "--install", "aixgo-operator", chart, "--namespace", NAMESPACE, *arguments)

        def get(*arguments: str) -> str:
            return helm.plane.kubectl("--namespace", NAMESPACE, "get", *arguments)

        install()
        held = {"spec": {"holderIdentity": "pod-1", "leaseDurationSeconds": 10}}
        patch = ("patch", "lease", LEASE_NAME, "--type=merge", "-p", json.dumps(held))
        helm.plane.kubectl("--namespace", NAMESPACE, *patch)
        helm.plane.kubectl("--namespace", NAMESPACE, "create", "secret", "generic", CA_SECRET_NAME)
        install("--set", "replicas=3")
        assert get("lease", LEASE_NAME, "-o", "jsonpath={.spec.holderIdentity}") == "pod-1"
        assert get("deployment", "aixgo-operator", "-o", "jsonpath={.spec.replicas}") == "3"
        # The other mode: the rights of the first one must go.
        install(*NAMESPACED)
        assert "aixgo" not in helm.plane.kubectl("get", "clusterrole,clusterrolebinding", "-o", "name")
        assert "aixgo-operator" in helm.plane.kubectl("--namespace", "team-b", "get", "role", "-o", "name")
        # Whoever holds the Lease is dead, and there are no CRDs: the hook comes to an end all the same.
        (hook,) = uninstall(helm, "aixgo-operator", NAMESPACE, tmp_path)
        assert hook.code == 0, hook

        def left() -> list[str]:
            found = get("deployment,configmap,secret,serviceaccount,lease,role,rolebinding,pdb", "-o", "name")
            return [line for line in found.split() if "aixgo" in line]

        wait_until(lambda: len(left()) <= 1, "the release is gone", timeout=60)
        assert left() == [f"secret/{CA_SECRET_NAME}"]
        # It was no authority: nothing that an operator could go on with.
        helm.plane.kubectl("--namespace", NAMESPACE, "delete", "secret", CA_SECRET_NAME)

    def test_an_upgrade_may_keep_the_values_of_an_older_version(self, helm: Helm, tmp_path: Path) -> None:
        chart = tmp_path / "aixgo-operator"
        shutil.copytree(CHARTS / "aixgo-operator", chart)
        shutil.copy(FIRST_VALUES, chart / "values.yaml")
        install = ("upgrade", "--install", "aixgo-operator", "--namespace", NAMESPACE, "--no-hooks")
        helm(*install, str(chart), "--set", "replicas=1", "--set", "certificates.redisDurationSeconds=3600")
        helm(*install, str(CHARTS / "aixgo-operator"), "--reuse-values", "--set", "replicas=3")
        get = ("--namespace", NAMESPACE, "get")
        assert helm.plane.kubectl(*get, "deploy", "-o", "jsonpath={.items[*].spec.replicas}") == "3"
        text = helm.plane.kubectl(*get, "cm", "aixgo-operator", "-o", r"jsonpath={.data.settings\.yaml}")
        settings = OperatorSettings.model_validate(yaml.safe_load(text))
        assert settings.redis_certificate_duration_seconds == 3600
        assert settings.ca_rotation_overlap_seconds == 28800, "not 0: clients would miss their new Secret"
        assert "networkpolicy" in helm.plane.kubectl(*get, "networkpolicy", "-o", "name")
        helm("uninstall", "aixgo-operator", "--namespace", NAMESPACE, "--no-hooks")

    def test_notes_name_what_is_left_and_what_holds(self, helm: Helm) -> None:
        chart = str(CHARTS / "aixgo-operator")
        notes = helm("install", "dry", chart, "--namespace", NAMESPACE, "--dry-run=client")
        assert CA_SECRET_NAME in notes
        assert "An uninstall stops the operator and releases the SessionBackends" in notes
        without = helm(
            *("install", "dry", chart, "--namespace", NAMESPACE, "--dry-run=client"),
            *("--set", "uninstallHook.enabled=false"),
        )
        assert "aixgo operator release-finalizers" in without
        assert FINALIZER_SESSION_PROTECTION not in notes + without
