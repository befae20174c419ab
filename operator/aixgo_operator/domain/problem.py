"""Problems are data: a wrong object still gets a status, and what does not depend on the problem goes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aixgo_operator.api.constants import ConditionType, Reason


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a condition does not hold."""

    condition: ConditionType
    reason: Reason
    #: What is wrong and what to do about it. Never a secret value.
    message: str
