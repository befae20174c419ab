"""Texts in messages: the payload ``{"text": "..."}`` that people and models exchange."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from aixgo.message import Message

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The type of an agent's answer.
ASSISTANT = "assistant"
#: Answers in histories that the Go original wrote.
ASSISTANT_TYPES = frozenset({ASSISTANT, "react_response", "analysis"})


def text_of(message: Message) -> str:
    """Return the text of a message: the ``text`` of its JSON payload, a JSON string, else the payload as it
    is.
    """
    try:
        payload = orjson.loads(message.payload)
    except orjson.JSONDecodeError:
        return message.payload
    if isinstance(payload, str):
        return payload
    if isinstance(payload, dict) and isinstance(text := payload.get("text"), str):
        return text
    return message.payload


def answer(text: str) -> Message:
    """Return an agent's answer with this text."""
    return Message.new(ASSISTANT, {"text": text})


def join_parts(parts: Sequence[Message]) -> Message | None:
    """Return the whole answer that the parts of a stream make up.

    Parts that are texts are joined into one; otherwise the last part is the answer. None if there was none.
    """
    if not parts:
        return None
    texts = [_only_text(part) for part in parts]
    if all(text is not None for text in texts):
        return Message.new(parts[-1].type, {"text": "".join(text for text in texts if text is not None)})
    return parts[-1]


def batched(parts: Sequence[Message]) -> list[Message]:
    """Return the parts with texts that follow each other joined, as far as they differ in nothing else."""
    batches: list[Message] = []
    texts: list[str] = []
    for part in parts:
        text = _only_text(part) if not part.metadata else None
        if text is not None and texts and batches[-1].type == part.type:
            texts.append(text)
            continue
        _close_batch(batches, texts)
        batches.append(part)
        texts = [] if text is None else [text]
    _close_batch(batches, texts)
    return batches


def _close_batch(batches: list[Message], texts: list[str]) -> None:
    if len(texts) > 1:
        batches[-1] = Message.new(batches[-1].type, {"text": "".join(texts)})


def _only_text(message: Message) -> str | None:
    try:
        payload = orjson.loads(message.payload)
    except orjson.JSONDecodeError:
        return None
    if isinstance(payload, dict) and payload.keys() == {"text"} and isinstance(payload["text"], str):
        return payload["text"]
    return None
