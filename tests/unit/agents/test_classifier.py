"""The role classifier: what the model is asked, and what is made of its answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic_ai.settings import ModelSettings
from tests.support.scripted_model import TOKENS, ScriptedModel

from aixgo.agents.classifier import ClassifierAgent
from aixgo.agents.factory import build_agent
from aixgo.contract import AgentConfig, ModelConfig
from aixgo.contract.role_config import ClassifierConfig, parse_role_config
from aixgo.message import Message
from aixgo.runtime.errors import InvalidRequestError, ModelUnavailableError

CATEGORIES = [
    {
        "name": "spam",
        "description": "Unwanted content",
        "keywords": ["buy now", "click here"],
        "examples": ["Get rich quick!"],
    },
    {"name": "legitimate", "description": "Wanted content"},
    {"name": "urgent"},
]
SPAM = {"category": "spam", "confidence": 0.85, "reasoning": "it sells"}


def classifier(model: ScriptedModel, *, prompt: str = "", **config: Any) -> ClassifierAgent:
    settings = parse_role_config("classifier", {"categories": CATEGORIES, **config})
    assert isinstance(settings, ClassifierConfig)
    return ClassifierAgent("c", config=settings, model=model.model, prompt=prompt)


async def ask(agent: ClassifierAgent, text: str = "Buy this") -> dict[str, Any]:
    answer = await agent.execute(Message.new("user", {"text": text}))
    assert answer.type == "classification"
    payload: dict[str, Any] = json.loads(answer.payload)
    return payload


async def test_the_result_has_the_keys_of_aixgo() -> None:
    payload = await ask(classifier(ScriptedModel(SPAM)))
    assert payload == {
        "category": "spam",
        "confidence": 0.85,
        "reasoning": "it sells",
        "tokens_used": TOKENS,
        "prompt_strategy": "zero-shot",
        "accepted": True,
    }


async def test_the_prompt_has_categories_examples_and_steps() -> None:
    model = ScriptedModel(SPAM)
    example = {"input": "Save 50%!", "category": "spam", "reason": "urgency"}
    payload = await ask(classifier(model, prompt="We sell shoes.", few_shot_examples=[example]), "Look here")
    assert payload["prompt_strategy"] == "few-shot"
    for part in ("- spam: Unwanted content", "Keywords: buy now, click here", "Examples: Get rich quick!"):
        assert part in model.last.prompt
    for part in ("Save 50%!", "Reasoning: urgency", "<text>\nLook here\n</text>", "Think step by step"):
        assert part in model.last.prompt
    assert "expert classification AI" in model.last.instructions
    assert "semantic understanding" in model.last.instructions
    assert "We sell shoes." in model.last.instructions


async def test_the_model_is_told_the_names() -> None:
    model = ScriptedModel(SPAM)
    await ask(classifier(model))
    properties = model.last.schema["properties"]
    assert properties["category"]["enum"] == ["spam", "legitimate", "urgent"]
    assert properties.keys() == {"category", "confidence", "reasoning", "alternatives"}


async def test_an_unknown_category_goes_back_to_the_model_and_is_paid_for() -> None:
    model = ScriptedModel(SPAM | {"category": "ham"}, SPAM | {"category": " Spam "})
    payload = await ask(classifier(model))
    assert (payload["category"], payload["tokens_used"]) == ("spam", 2 * TOKENS)
    assert "'ham' is none of the categories, which are: spam, legitimate, urgent" in str(model.last.messages)
    stubborn = ScriptedModel(lambda _: SPAM | {"category": "ham"})
    with pytest.raises(ModelUnavailableError, match="no usable answer"):
        await ask(classifier(stubborn))
    assert len(stubborn.requests) == 3


@pytest.mark.parametrize("text", [json.dumps(SPAM), f"Sure:\n```json\n{json.dumps(SPAM)}\n```"])
async def test_a_model_without_tools_may_write_json(text: str) -> None:
    model = ScriptedModel("I think it is spam.", text)
    payload = await ask(classifier(model))
    assert (payload["category"], payload["tokens_used"]) == ("spam", 2 * TOKENS)
    assert "Answer with one JSON object of this schema" in model.last.prompt


async def test_alternatives_are_other_categories_each_once() -> None:
    said = [("urgent", 0.2), ("spam", 0.9), ("made up", 0.5), ("Legitimate", 0.4), ("urgent", 0.3)]
    alternatives = [{"category": name, "confidence": value} for name, value in said]
    payload = await ask(classifier(ScriptedModel(SPAM | {"alternatives": alternatives})))
    assert payload["alternatives"] == [
        {"category": "legitimate", "confidence": 0.4},
        {"category": "urgent", "confidence": 0.3},
    ]


async def test_the_threshold_decides_what_is_accepted() -> None:
    assert (await ask(classifier(ScriptedModel(SPAM), confidence_threshold=0.85)))["accepted"] is True
    assert (await ask(classifier(ScriptedModel(SPAM), confidence_threshold=0.86)))["accepted"] is False


async def test_multi_label_gives_every_category_above_the_threshold() -> None:
    said = SPAM | {
        "alternatives": [
            {"category": "urgent", "confidence": 0.6},
            {"category": "legitimate", "confidence": 0.1},
        ]
    }
    model = ScriptedModel(said)
    payload = await ask(classifier(model, multi_label=True, confidence_threshold=0.5))
    assert [label["category"] for label in payload["labels"]] == ["spam", "urgent"]
    assert "may belong to several" in model.last.prompt


async def test_the_nearest_examples_and_categories_come_first_with_embeddings() -> None:
    examples = [
        {"input": f"number {number} {word}", "category": "spam"}
        for number, word in enumerate(["shoes", "rain", "weather rain", "cats", "rain today"])
    ]
    model = ScriptedModel(SPAM, SPAM)
    await ask(
        classifier(model, use_embeddings=True, few_shot_examples=examples), "is rain wanted content today"
    )
    assert model.last.prompt.index("legitimate") < model.last.prompt.index("- spam")
    assert [word in model.last.prompt for word in ("shoes", "cats", "rain today")] == [False, False, True]
    await ask(classifier(model, few_shot_examples=examples), "is rain wanted content today")
    assert "shoes" in model.last.prompt


async def test_whose_settings_count() -> None:
    for own, config, expected in [
        (None, {}, (0.3, 500)),
        ({"temperature": 0.9}, {}, (0.9, 500)),
        ({"temperature": 0.9, "max_tokens": 5}, {"temperature": 0.0, "max_tokens": 6}, (0.0, 6)),
    ]:
        model = ScriptedModel(SPAM, settings=ModelSettings(**own) if own else None)
        await ask(classifier(model, **config))
        assert (model.last.settings["temperature"], model.last.settings["max_tokens"]) == expected


@pytest.mark.parametrize(("text", "why"), [("  ", "empty"), ("a\0b", "control"), ("x" * 100_001, "longer")])
async def test_bad_input_is_refused_before_the_model_is_asked(text: str, why: str) -> None:
    model = ScriptedModel(SPAM)
    with pytest.raises(InvalidRequestError, match=why):
        await ask(classifier(model), text)
    assert model.requests == []


async def test_the_test_provider_answers() -> None:
    config = AgentConfig(
        name="c",
        namespace="n",
        role="classifier",
        model=ModelConfig(provider="test", name="t"),
        role_config={"categories": CATEGORIES},
    )
    agent = build_agent(config, lambda _: "")
    assert isinstance(agent, ClassifierAgent)
    await agent.start()
    assert agent.ready()
    assert (await ask(agent))["category"] == "spam"
    await agent.stop()
    assert not agent.ready()
