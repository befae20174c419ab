"""Nothing that a person can read by accident has a key or a password in it."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from tests.support.demo import steps

if TYPE_CHECKING:
    from tests.support.installation import Installation

#: Parts of Secrets that are public: certificates, names.
PUBLIC_KEYS = {"tls.crt", "ca.crt", "trust-bundle.crt", "username", "operator.username"}


def secret_values(quickstart: Installation) -> dict[str, str]:
    """Return every private value of every Secret of the installation, by where it is from."""
    found = {}
    for namespace in (steps.NAMESPACE, steps.OPERATOR_NAMESPACE):
        for secret in json.loads(quickstart.kubectl("get", "secrets", "-n", namespace, "-o", "json"))[
            "items"
        ]:
            if secret["type"].startswith("helm.sh/"):
                continue
            for key, encoded in secret["data"].items():
                value = base64.b64decode(encoded).decode()
                if key in PUBLIC_KEYS or len(value) < 12:
                    continue
                # Of a PEM file one line of the body is enough, and finds it in any quoting.
                lines = [line for line in value.splitlines() if len(line) >= 12 and "-----" not in line]
                found[f"{namespace}/{secret['metadata']['name']}/{key}"] = lines[0]
                found[f"{namespace}/{secret['metadata']['name']}/{key} (base64)"] = encoded[:200]
    return found


def test_no_secret_in_logs_objects_or_events(quickstart: Installation) -> None:
    """O23: with real pods and their logs."""
    steps.call(quickstart.cluster, "assistant", "Say hello.")
    values = secret_values(quickstart)
    assert {key.split("/")[1] for key in values} >= {"aixgo-ca", "agents-tls", "sessions-redis-auth"}

    texts = {}
    for namespace in (steps.NAMESPACE, steps.OPERATOR_NAMESPACE):
        kinds = "pods,deployments,statefulsets,configmaps,services,events,agentruntimes,sessionbackends"
        kinds += ",agents.aixgo.dev"
        texts[f"objects of {namespace}"] = quickstart.kubectl(
            "get", kinds, "-n", namespace, "-o", "yaml", "--show-managed-fields"
        )
        for pod in json.loads(quickstart.kubectl("get", "pods", "-n", namespace, "-o", "json"))["items"]:
            name = pod["metadata"]["name"]
            texts[f"log of {name}"] = quickstart.kubectl("logs", "-n", namespace, name, "--all-containers")
    assert sum(map(len, texts.values())) > 10_000, "there was nothing to look at"
    seen = [
        f"{origin} in {where}" for where, text in texts.items() for origin, v in values.items() if v in text
    ]
    assert not seen
