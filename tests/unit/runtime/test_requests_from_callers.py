"""What comes over the wire is checked before anything is done with it, and the field is named."""

from __future__ import annotations

import pytest

from aixgo.rpc import agent_service_pb2 as pb
from aixgo.rpc.convert import MAX_WORD
from aixgo.rpc.requests import turn_request
from aixgo.runtime.errors import InvalidRequestError
from aixgo.session.validation import MAX_KEY_BYTES, MAX_USER_ID_BYTES

GOOD = pb.Message(type="user", payload='{"text": "hello"}')


@pytest.mark.parametrize(
    ("field", "request_"),
    [
        ("input", pb.ExecuteRequest()),
        ("input.payload", pb.ExecuteRequest(input=pb.Message(payload="{"))),
        ("input.payload", pb.ExecuteRequest(input=pb.Message(payload=""))),
        ("input.payload", pb.ExecuteRequest(input=pb.Message(payload="NaN"))),
        ("input.id", pb.ExecuteRequest(input=pb.Message(id="a\nb", payload="1"))),
        ("input.id", pb.ExecuteRequest(input=pb.Message(id="x" * (MAX_WORD + 1), payload="1"))),
        ("input.type", pb.ExecuteRequest(input=pb.Message(type="\x1b[2J", payload="1"))),
        ("input.timestamp", pb.ExecuteRequest(input=pb.Message(timestamp="yesterday", payload="1"))),
        ("user_id", pb.ExecuteRequest(input=GOOD, user_id="a\0b")),
        ("user_id", pb.ExecuteRequest(input=GOOD, user_id="x" * (MAX_USER_ID_BYTES + 1))),
        ("idempotency_key", pb.ExecuteRequest(input=GOOD, idempotency_key="a\rb")),
        ("idempotency_key", pb.ExecuteRequest(input=GOOD, idempotency_key="x" * (MAX_KEY_BYTES + 1))),
        ("session_context.id", pb.ExecuteRequest(input=GOOD, session_context=pb.SessionContext())),
        ("session_context.id", pb.ExecuteRequest(input=GOOD, session_context=pb.SessionContext(id="../x"))),
        (
            "session_context.user_id",
            pb.ExecuteRequest(input=GOOD, session_context=pb.SessionContext(id="s", user_id="\x07")),
        ),
        (
            "session_context.agent_name",
            pb.ExecuteRequest(
                agent_name="a", input=GOOD, session_context=pb.SessionContext(id="s", agent_name="b")
            ),
        ),
    ],
)
def test_a_malformed_field_is_named(field: str, request_: pb.ExecuteRequest) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        turn_request(request_)
    assert caught.value.field == field
    assert str(caught.value).isprintable(), "what the caller sent does not steer a terminal"


def test_a_good_request_is_taken_as_it_is() -> None:
    request = pb.ExecuteRequest(
        agent_name="a", input=GOOD, session_id="new", user_id="Ada Lovelace", idempotency_key="k-1"
    )
    turn = turn_request(request)
    assert (turn.user_id, turn.idempotency_key, turn.session_id) == ("Ada Lovelace", "k-1", "new")
    assert turn.input.payload == GOOD.payload
    assert turn.input.id, "an id is made where there is none"
    assert turn.input.timestamp
