"""``aixgo operator``: the process."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aixgo_operator.domain.settings import OperatorSettings

DEFAULT_SETTINGS: Final = Path("/etc/aixgo-operator/settings.yaml")
HEALTH_PORT: Final = 8081
#: Exit codes: settings that cannot be used; leadership lost (the next start stands by); anything else went
#: wrong.
EXIT_SETTINGS: Final = 2
EXIT_LOST: Final = 3
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
