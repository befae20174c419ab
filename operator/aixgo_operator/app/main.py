"""``aixgo operator``: the process, and what is done before it goes for good."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aixgo_operator.domain.settings import OperatorSettings

DEFAULT_SETTINGS: Final = Path("/etc/aixgo-operator/settings.yaml")
HEALTH_PORT: Final = 8081
#: Exit codes: settings that cannot be used; leadership lost (the next start stands by); the installed CRDs
#: are older than this operator; anything else went wrong.
EXIT_SETTINGS: Final = 2
EXIT_LOST: Final = 3
EXIT_DEFINITIONS: Final = 4
EXIT_FAILED: Final = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run the operator until SIGTERM; return the exit code. ``argv`` defaults to no arguments."""
    arguments = _parser().parse_args(list(argv or ()))

    from aixgo_operator.app import logs

    logs.configure(os.environ.get("AIXGO_LOG_LEVEL", "INFO").upper())
    try:
        settings = load_settings(arguments.settings)
    except (OSError, ValueError) as error:
        print(f"settings {arguments.settings}: {error}", file=sys.stderr)
        return EXIT_SETTINGS

    import uvloop

    from aixgo_operator.app.process import Process

    process = Process(
        settings,
        kubeconfig=arguments.kubeconfig or os.environ.get("KUBECONFIG") or None,
        health_host=arguments.health_host,
        health_port=arguments.health_port,
    )
    return uvloop.run(process.run())


def release_finalizers(
    *,
    settings: Path | None = None,
    kubeconfig: str | None = None,
    operator_namespace: str | None = None,
    deployment: str = "aixgo-operator",
    wait: float = 60.0,
) -> int:
    """Take the finalizers from all SessionBackends (:mod:`aixgo_operator.app.release`); return the exit code.

    Args:
        settings: The operator's settings file; None: all namespaces.
        kubeconfig: None: $KUBECONFIG, else the pod's service account.
        operator_namespace: Where the operator was installed, if not as the settings say.
        deployment: The operator's Deployment.
        wait: Seconds that deletions which have begun have to end.
    """
    from aixgo_operator.app import release
    from aixgo_operator.domain.settings import OperatorSettings
    from aixgo_operator.kube.errors import ApiError

    try:
        chosen = OperatorSettings() if settings is None else load_settings(settings)
    except (OSError, ValueError) as error:
        print(f"settings {settings}: {error}", file=sys.stderr)
        return EXIT_SETTINGS
    if operator_namespace is not None:
        chosen = chosen.model_copy(update={"operator_namespace": operator_namespace})
    try:
        asyncio.run(
            release.run(
                chosen,
                kubeconfig=kubeconfig or os.environ.get("KUBECONFIG") or None,
                deployment=deployment,
                wait=wait,
                tell=lambda line: print(line, flush=True),
            )
        )
    except (ApiError, release.StillRunningError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_FAILED
    return 0


def load_settings(path: Path) -> OperatorSettings:
    """Read the settings file. Raises OSError, or ValueError with a line per wrong field."""
    import yaml
    from pydantic import ValidationError

    from aixgo_operator.api.base import describe_errors
    from aixgo_operator.domain.settings import OperatorSettings

    try:
        data = yaml.safe_load(path.read_text()) or {}
        return OperatorSettings.model_validate(data)
    except yaml.YAMLError as error:
        raise ValueError(f"not YAML: {error}") from error
    except ValidationError as error:
        raise ValueError(describe_errors(error)) from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="aixgo operator", description="Run the operator.")
    parser.add_argument("--settings", type=Path, default=DEFAULT_SETTINGS, help="settings file (YAML)")
    parser.add_argument("--kubeconfig", help="kubeconfig file; default: the pod's service account")
    parser.add_argument("--health-host", help="address of health and metrics; default: all")
    parser.add_argument("--health-port", type=int, default=HEALTH_PORT, help="port of health and metrics")
    return parser


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
