"""What to do about an object that cannot be changed: make it anew, or say what a person has to do."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final

from aixgo_operator.kube.errors import InvalidError

if TYPE_CHECKING:
    from aixgo_operator.kube.errors import ApiError
    from aixgo_operator.kube.resources import Manifest

#: How the API server says that a field is fixed once the object exists.
_FIXED: Final = (
    "field is immutable",
    "is immutable after creation",
    "updates to statefulset spec for fields other than",
    "may not change once set",
    "when `immutable` is set",
)

_ADVICE: Final = {
    "PersistentVolumeClaim": "a volume claim keeps its class and never shrinks: put the old value back, or"
    " delete the claim and with it the sessions on it",
    "Service": "delete the Service; it gets another cluster IP",
    "Deployment": "delete the Deployment; its pods are replaced",
    "StatefulSet": "delete the StatefulSet; its pod is replaced and its volume stays",
}


class Repair(Enum):
    """How an object is made anew."""

    #: It is deleted and created at once: nothing depends on its being there all the time.
    RECREATE = auto()
    #: It is deleted without its pods; its successor adopts them.
    ORPHAN = auto()


def is_fixed(error: InvalidError) -> bool:
    """Whether the API server refused the change of a field that never changes, not a wrong value."""
    return any(text in error.message for text in _FIXED)


def repair_of(desired: Manifest, observed: Manifest, error: InvalidError) -> Repair | None:
    """Return how to bring ``observed``, which is ours, to ``desired``; None: only a person may."""
    if not is_fixed(error):
        return None
    kind = desired["kind"]
    if kind in ("Secret", "ConfigMap"):
        return Repair.RECREATE
    # Another selector: the pods would be nobody's, and a second set would start beside them.
    if kind == "StatefulSet" and _selector(desired) == _selector(observed):
        return Repair.ORPHAN
    return None


def explain(manifest: Manifest, error: ApiError) -> ApiError:
    """Return the error with the object's name and, for a field that is fixed, what to do."""
    metadata, kind = manifest["metadata"], manifest["kind"]
    text = f"{kind} {metadata['namespace']}/{metadata['name']} is refused: {error.message}"
    if isinstance(error, InvalidError) and is_fixed(error):
        text += f"; {_ADVICE.get(kind, f'delete the {kind}')}"
    return type(error)(error.status, error.reason, text)


def _selector(workload: Manifest) -> Any:
    return (workload["spec"].get("selector") or {}).get("matchLabels")
