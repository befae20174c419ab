"""An agent that remembers: a ReAct agent whose model sees the whole conversation.

Usage: ``python session_react.py [--store DIRECTORY] [--base-url URL] [--model NAME]``. The model's address
may also be in ``OPENAI_BASE_URL``, its key in ``OPENAI_API_KEY``.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path

from aixgo import Message, Runtime
from aixgo.agents.language_model import LanguageModel
from aixgo.agents.react import ReactAgent
from aixgo.agents.text import text_of
from aixgo.agents.url_guard import LOCAL
from aixgo.contract import ModelConfig
from aixgo.session import FileBackend, Manager, Session

AGENT, USER = "assistant", "demo-user"
PROMPT = "You are a helpful assistant. Answer in one short sentence."


async def ask(runtime: Runtime, session: Session, text: str) -> None:
    """Ask in a session: history in, question and answer appended together."""
    print(f"   you: {text}")
    answer = await runtime.call_with_session(AGENT, Message.new("user", {"text": text}), session.id)
    print(f"   {AGENT}: {text_of(answer)}")


async def main(store: Path, model: ModelConfig, api_key: str | None) -> None:
    """Run the example."""
    agent = ReactAgent(AGENT, prompt=PROMPT, model=LanguageModel.of(model, api_key, policy=LOCAL))
    async with (
        Manager(FileBackend(store)) as sessions,
        Runtime(session_manager=sessions, timeout=120) as runtime,
    ):
        runtime.register(agent)
        session = await sessions.create(AGENT, user_id=USER)

        print("1. A conversation")
        await ask(runtime, session, "Remember this: the secret word is banana.")

        print("2. A checkpoint")
        checkpoint = await session.checkpoint()
        await ask(runtime, session, "What is the capital of France?")
        print(f"   {session.message_count} messages")

        print("3. Back to the checkpoint")
        await session.restore(checkpoint.id)
        print(f"   {session.message_count} messages")

    # As after a restart: a new runtime, a new agent, the same directory.
    agent = ReactAgent(AGENT, prompt=PROMPT, model=LanguageModel.of(model, api_key, policy=LOCAL))
    async with (
        Manager(FileBackend(store)) as sessions,
        Runtime(session_manager=sessions, timeout=120) as runtime,
    ):
        runtime.register(agent)
        print("4. After a restart")
        session = await sessions.get_or_create(AGENT, USER)
        await ask(runtime, session, "What is the secret word?")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A ReAct agent with a memory.")
    parser.add_argument("--store", type=Path, default=Path("sessions"), help="directory of the sessions")
    parser.add_argument("--model", default="smollm2-135m", help="name of the model")
    parser.add_argument(
        "--base-url",
        default=os.environ.get("OPENAI_BASE_URL", "http://localhost:8080/v1"),
        help="where a server with the OpenAI-compatible API is",
    )
    options = parser.parse_args()
    settings = ModelConfig(name=options.model, base_url=options.base_url, temperature=0.0, max_tokens=100)
    asyncio.run(main(options.store, settings, os.environ.get("OPENAI_API_KEY")))
