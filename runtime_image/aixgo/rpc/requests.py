"""What callers ask for, checked, and what they get: between the wire and the turns of agents."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from aixgo.errors import InvalidMessageError, InvalidPathComponentError
from aixgo.rpc import agent_service_pb2 as pb
from aixgo.rpc.convert import from_caller, from_wire, put_on_wire, to_wire
from aixgo.runtime.errors import InvalidRequestError
from aixgo.runtime.turns import CallersHistory, TurnRequest
from aixgo.session import validation

if TYPE_CHECKING:
    from collections.abc import Callable

    from aixgo.message import Message
    from aixgo.runtime.turns import TurnResult

AGENT_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")
MAX_AGENT_NAME: Final = 64
#: A caller's deadline minus this is how long its message waits for room, in seconds: it must hear of it.
ANSWER_SECONDS: Final = 0.5


@lru_cache(maxsize=1024)  # the same few agents are called again and again
def _matches(name: str) -> bool:
    return AGENT_NAME.fullmatch(name) is not None


def check_agent_name(name: str, field: str) -> None:
    """Make sure that a name can be one of an agent.

    Raises:
        InvalidRequestError: it is missing or malformed; ``field`` is where it was.
    """
    if len(name) > MAX_AGENT_NAME or not _matches(name):
        if not name:
            raise InvalidRequestError(field, "is required")
        raise InvalidRequestError(field, f"must match ^{AGENT_NAME.pattern}$")


def turn_request(request: pb.ExecuteRequest) -> TurnRequest:
    """Return what a call asks for.

    Raises:
        InvalidRequestError: a field is missing or malformed; it is named.
    """
    if not request.HasField("input"):
        raise InvalidRequestError("input", "is required")
    message = from_caller(request.input, "input")
    user_id, key = request.user_id, request.idempotency_key
    if user_id:
        _checked("user_id", user_id, validation.user_id)
    if key:
        _checked("idempotency_key", key, validation.idempotency_key)
    history = _callers_history(request) if request.HasField("session_context") else None
    return TurnRequest(request.agent_name, message, request.session_id, user_id, key, history)


def _callers_history(request: pb.ExecuteRequest) -> CallersHistory:
    session = request.session_context
    if not session.id:
        raise InvalidRequestError("session_context.id", "is required")
    if session.agent_name not in ("", request.agent_name):
        raise InvalidRequestError("session_context.agent_name", "is not the agent that is called")
    return CallersHistory(
        _checked("session_context.id", session.id, validation.session_id),
        _checked("session_context.user_id", session.user_id, validation.user_id) if session.user_id else "",
        tuple(from_wire(message) for message in session.history),
    )


def _checked(field: str, value: str, check: Callable[[str], str]) -> str:
    """Return a field, checked as the session layer does it, with the field named."""
    try:
        return check(value)
    except (InvalidMessageError, InvalidPathComponentError) as error:
        raise InvalidRequestError(field, str(error)) from error


def execute_response(result: TurnResult) -> pb.ExecuteResponse:
    """Return what a call gives back."""
    response = pb.ExecuteResponse()
    put_on_wire(result.output, response.output)
    if result.session_id:
        response.session_id, response.session_version = result.session_id, result.session_version
        if result.appended:
            response.appended.extend(map(to_wire, result.appended))
    return response


def waiting_time(wanted: str, remaining: float | None) -> float | None:
    """Return the seconds that a message may wait for room. None: as long as the channel allows."""
    limits = []
    if remaining is not None:
        limits.append(max(remaining - ANSWER_SECONDS, remaining / 2))
    if wanted.isdecimal() and len(wanted) < 10:
        limits.append(int(wanted) / 1000)
    return min(limits, default=None)


def listen_response(message: Message | None) -> pb.ListenResponse:
    """Return a message of a channel as it goes to a reader."""
    return pb.ListenResponse(message=None if message is None else to_wire(message))
