"""``aixgo operator``: the process, and what is done before it goes for good."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from aixgo_operator.domain.settings import OperatorSettings

DEFAULT_SETTINGS: Final = Path("/etc/aixgo-operator/settings.yaml")
HEALTH_PORT: Final = 8081
#: Exit codes: settings that cannot be used; leadership lost (the next start stands by); the installed CRDs
#: are older than this operator; anything else went wrong.
EXIT_SETTINGS: Final = 2
EXIT_LOST: Final = 3
EXIT_DEFINITIONS: Final = 4
EXIT_FAILED: Final = 1

#: Containers that are new since the last collection of young ones (Python's default: 700). An event or an
#: answer has hundreds, which live as long as the cache keeps them, or go with their last reference.
_COLLECT_AFTER: Final = 20_000


def main(
    *,
    settings: Path = DEFAULT_SETTINGS,
    kubeconfig: str | None = None,
    health_host: str | None = None,
    health_port: int = HEALTH_PORT,
) -> int:
    """Run the operator until SIGTERM; return the exit code.

    Args:
        settings: The settings file.
        kubeconfig: None: $KUBECONFIG, else the pod's service account.
        health_host: Address of health and metrics; None: all.
        health_port: Their port.
    """
    from aixgo_operator.app import logs

    logs.configure(os.environ.get("AIXGO_LOG_LEVEL", "INFO").upper())
    try:
        chosen = load_settings(settings)
    except (OSError, ValueError) as error:
        print(f"settings {settings}: {error}", file=sys.stderr)
        return EXIT_SETTINGS

    import uvloop

    from aixgo_operator.app.process import Process

    _collect_seldom()
    process = Process(
        chosen,
        kubeconfig=kubeconfig or os.environ.get("KUBECONFIG") or None,
        health_host=health_host,
        health_port=health_port,
    )
    return uvloop.run(process.run())


def _collect_seldom() -> None:
    """Let the garbage collector go through what is new less often, and never through what was imported."""
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, *gc.get_threshold()[1:])


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
