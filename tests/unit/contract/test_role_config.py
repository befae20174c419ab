"""roleConfig: every key counts in both spellings, has Aixgo's default, and nothing unknown is let in."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic.alias_generators import to_camel
from tests.support.properties import PATIENT

from aixgo.contract.durations import parse_duration
from aixgo.contract.role_config import (
    AggregatorConfig,
    ClassifierConfig,
    PlannerConfig,
    ProducerConfig,
    RoleConfigError,
    needs_model,
    parse_role_config,
    role_problems,
)

CATEGORIES = [{"name": "bug", "description": "d", "keywords": ["k"], "examples": ["e"]}, {"name": "other"}]
#: Every key of the reference with a value that is not its default.
KEYS: dict[str, dict[str, Any]] = {
    "classifier": {
        "categories": CATEGORIES,
        "use_embeddings": True,
        "confidence_threshold": 0.25,
        "multi_label": True,
        "few_shot_examples": [{"input": "i", "category": "bug", "reason": "r"}],
        "temperature": 0.9,
        "max_tokens": 7,
    },
    "aggregator": {
        "aggregation_strategy": "rag_based",
        "conflict_resolution": "highest_weight_wins",
        "deduplication_method": "semantic",
        "summarization_enabled": True,
        "max_input_sources": 3,
        "timeout_ms": 10,
        "semantic_similarity_threshold": 0.5,
        "source_weights": {"a": 2.0},
        "consensus_threshold": 0.1,
        "temperature": 0.1,
        "max_tokens": 7,
    },
    "planner": {
        "planning_strategy": "monte_carlo",
        "max_steps": 4,
        "step_detail_level": "brief",
        "enable_backtracking": True,
        "enable_self_critique": True,
        "reasoning_depth": 2,
        "parallelizable_steps": True,
        "include_alternatives": True,
        "temperature": 0.1,
        "max_tokens": 7,
        "example_plans": [{"problem": "p", "steps": ["s"], "explanation": "x"}],
    },
    "producer": {"interval": "2s", "type": "tick", "message": "hello"},
}


def plain(value: object) -> object:
    """Return a model's values as they were written."""
    if isinstance(value, BaseModel):
        return {name: plain(getattr(value, name)) for name in value.model_fields_set}
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return value


@pytest.mark.parametrize("spelling", [str, to_camel])
@pytest.mark.parametrize("role", KEYS)
def test_every_key_is_read_in_both_spellings(role: str, spelling: Any) -> None:
    config = parse_role_config(role, {spelling(key): value for key, value in KEYS[role].items()})
    assert plain(config) == KEYS[role]


def test_the_tables_above_leave_no_key_out() -> None:
    for role, model in (
        ("classifier", ClassifierConfig),
        ("aggregator", AggregatorConfig),
        ("planner", PlannerConfig),
    ):
        assert KEYS[role].keys() == model.model_fields.keys()
    assert ProducerConfig.model_fields.keys() == KEYS["producer"].keys() | {"payload"}


def test_defaults_are_those_of_aixgo() -> None:
    classifier = parse_role_config("classifier", {"categories": CATEGORIES})
    assert isinstance(classifier, ClassifierConfig)
    assert (classifier.confidence_threshold, classifier.temperature, classifier.max_tokens) == (0.7, 0.3, 500)
    aggregator = parse_role_config("aggregator", {})
    assert isinstance(aggregator, AggregatorConfig)
    assert (aggregator.aggregation_strategy, aggregator.timeout_ms) == ("consensus", 5000)
    assert (aggregator.semantic_similarity_threshold, aggregator.consensus_threshold) == (0.85, 0.7)
    assert (aggregator.temperature, aggregator.max_tokens) == (0.5, 1500)
    planner = parse_role_config("planner", {})
    assert isinstance(planner, PlannerConfig)
    assert (planner.planning_strategy, planner.max_steps) == ("chain_of_thought", 20)
    assert (planner.step_detail_level, planner.reasoning_depth) == ("detailed", 3)
    assert (planner.temperature, planner.max_tokens) == (0.7, 2000)
    producer = parse_role_config("producer", {})
    assert isinstance(producer, ProducerConfig)
    assert (producer.interval_seconds, producer.type) == (1.0, "ray_burst")


@pytest.mark.parametrize(
    ("role", "config", "text"),
    [
        ("classifier", {}, "roleConfig.categories: role classifier needs it"),
        ("classifier", {"categories": []}, "roleConfig.categories: Tuple should have at least 1 item"),
        (
            "classifier",
            {"categories": [{"name": "a", "keyword": []}]},
            "roleConfig.categories[0].keyword: unknown key of role classifier",
        ),
        ("classifier", {"categories": [{"name": "a"}, {"name": "a"}]}, "'a' is there twice"),
        (
            "classifier",
            {"categories": [{"name": "a"}], "fewShotExamples": [{"input": "x", "category": "b"}]},
            "few_shot_examples: 'b' is none of the categories",
        ),
        ("aggregator", {"aggregation_strategy": "vote"}, "roleConfig.aggregation_strategy: Input should be"),
        ("aggregator", {"consensusThreshold": 1.1}, "roleConfig.consensusThreshold: Input should be less"),
        ("aggregator", {"timeout_ms": 0}, "roleConfig.timeout_ms: Input should be greater than 0"),
        ("aggregator", {"source_weights": {"a": -1}}, "roleConfig.source_weights.a: Input should be"),
        ("aggregator", {"temperature": float("nan")}, "roleConfig.temperature"),
        ("aggregator", {"timeout_ms": 1, "timeoutMs": 2}, "timeout_ms and timeoutMs are the same key"),
        ("planner", {"steps": 3}, "roleConfig.steps: unknown key of role planner; known: planning_strategy,"),
        ("planner", {"reasoningDepth": 11}, "roleConfig.reasoningDepth: Input should be less than or equal"),
        ("producer", {"interval": "0"}, "roleConfig.interval: '0' is too short"),
        ("producer", {"interval": "soon"}, "'soon' is no duration: write it as 500ms, 10s or 1h30m"),
        ("producer", {"message": "a", "payload": 1}, "message and payload exclude each other"),
        ("logger", {"level": "info"}, "roleConfig.level: unknown key of role logger"),
    ],
)
def test_what_is_wrong_is_named(role: str, config: dict[str, Any], text: str) -> None:
    with pytest.raises(RoleConfigError) as caught:
        parse_role_config(role, config)
    assert text in str(caught.value)


def test_a_wrong_item_does_not_also_make_the_list_look_empty() -> None:
    with pytest.raises(RoleConfigError) as caught:
        parse_role_config("classifier", {"categories": [{"name": ""}]}, "classifier_config")
    assert str(caught.value).startswith("classifier_config.categories[0].name: ")
    assert ";" not in str(caught.value)


def test_empty_texts_mean_the_default_as_in_go() -> None:
    config = parse_role_config("aggregator", {"conflict_resolution": "", "deduplication_method": ""})
    assert isinstance(config, AggregatorConfig)
    assert (config.conflict_resolution, config.deduplication_method) == ("llm_mediated", "none")


@pytest.mark.parametrize(
    ("role", "config", "expected"),
    [
        ("react", {}, True),
        ("classifier", {}, True),
        ("planner", {}, True),
        ("aggregator", {}, True),
        ("aggregator", {"aggregationStrategy": "semantic"}, True),
        ("aggregator", {"aggregation_strategy": "voting_unanimous"}, False),
        ("aggregator", {"aggregationStrategy": "voting_weighted"}, False),
        ("producer", {}, False),
        ("logger", {}, False),
        ("custom", {}, False),
    ],
)
def test_who_needs_a_model(role: str, config: dict[str, Any], *, expected: bool) -> None:
    assert needs_model(role, config) is expected
    missing = [text for text in role_problems(role, config, has_model=False) if "needs a model" in text]
    assert bool(missing) is expected
    assert not any("needs a model" in text for text in role_problems(role, config, has_model=True))


@PATIENT
@given(st.dictionaries(st.text(max_size=20), st.none() | st.integers() | st.text(max_size=5), max_size=4))
def test_no_configuration_breaks_the_check(config: dict[str, Any]) -> None:
    for role in ("react", "classifier", "aggregator", "planner", "producer", "logger", "custom"):
        for text in role_problems(role, config, has_model=False):
            assert text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("300ms", 0.3),
        ("1.5h", 5400.0),
        ("2h45m", 9900.0),
        ("1h2m3.5s", 3723.5),
        ("10us", 1e-5),
        ("10µs", 1e-5),
        ("7ns", 7e-9),
        ("0", 0.0),
        ("+1s", 1.0),
        ("-1s", -1.0),
        (".5s", 0.5),
    ],
)
def test_durations_are_read_as_go_reads_them(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "5", "1 s", "s", "1d", "1s ", "1s2", "\u0661s", "9" * 400 + "h", "--1s"]
)
def test_what_go_refuses_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        parse_duration(text)
