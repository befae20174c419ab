"""docs/api.md names every condition and every reason that an object can have."""

from __future__ import annotations

import re
from pathlib import Path

from aixgo_operator.api import crdgen
from aixgo_operator.api.constants import ConditionStatus, ConditionType, Reason
from aixgo_operator.api.v1alpha1 import KINDS

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "api.md").read_text()
#: What they are when all is well, and what says of Ready alone why it is not.
NO_FAILURES = {
    *(Reason.ACCEPTED, Reason.RESOLVED, Reason.SERVING, Reason.NOT_REQUIRED, Reason.CONNECTED),
    *(Reason.ROLLOUT_COMPLETE, Reason.AOF, Reason.VOLUME, Reason.NO_EVICTION, Reason.VOLATILE_ONLY),
    *(Reason.HAS_CONSUMERS, Reason.LOADED, Reason.READY),
}


def test_every_condition_and_reason_is_named() -> None:
    told = set(re.findall(r"`([A-Za-z]+)`", PAGE.partition("## Conditions")[2]))
    assert {str(kind) for kind in ConditionType} <= told
    assert {str(reason) for reason in Reason} - NO_FAILURES <= told
    known = {*map(str, ConditionType), *map(str, Reason), *map(str, ConditionStatus)}
    assert told <= known, "no other"


def test_every_field_is_in_its_table() -> None:
    for kind, model in KINDS.items():
        table = PAGE.partition(f"<!-- generated: kind:{kind} -->")[2].partition("<!-- end -->")[0]
        fields = set(re.findall(r"^\| `([A-Za-z]+)` \|", table, re.MULTILINE))
        assert fields == set(crdgen.structural_schema(model.spec_model())["properties"])
