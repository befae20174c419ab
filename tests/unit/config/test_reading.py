"""What a configuration file may say, and how it is told what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from aixgo.config.models import Config, split_address
from aixgo.config.problems import ConfigError
from aixgo.config.reading import load_config, parse_config

A_NAME = "begins with a small letter and has only small letters, digits, - and _ (at most 64)"


def config(text: str) -> Config:
    return parse_config(text.encode(), "agents.yaml").config


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config(text)
    return str(caught.value).splitlines()


def test_every_key_of_the_original_is_read() -> None:
    read = config(
        """
supervisor: {name: boss, model: gpt-4, max_rounds: 10}
mcp_servers:
  - {name: weather, transport: grpc, address: "h:1", tls: true, auth: {type: bearer, token: t, token_env: T}}
model_services:
  - name: phi
    provider: huggingface
    model: phi3.5
    runtime: ollama
    transport: local
    address: "localhost:11434"
    config: {address: a, api_key: k, token: t, endpoint: e, variant: optimized, quantization: int4}
agents:
  - name: detector
    role: producer
    interval: 800ms
    listen: ":50053"
    inputs: [{source: s}]
    outputs: [{target: t, addr: "other:50051"}]
    depends_on: []
    model: gpt-4
    prompt: hello
    tools: [{name: query, description: d, input_schema: {type: object, properties: {ra: {type: number}}}}]
    mcp_servers: [weather]
    session_mode: disabled
session: {enabled: true, store: file, base_dir: ~/x, checkpoint: {auto_save: true, interval: 1h30m}}
"""
    )
    agent = read.agents[0]
    assert (agent.interval, agent.listen, agent.outputs[0].addr) == ("800ms", ":50053", "other:50051")
    assert agent.tools[0].input_schema["properties"]["ra"]["type"] == "number"
    assert read.session.checkpoint.interval == 5400.0
    assert read.session.base_dir == "~/x"
    assert read.model_services[0].config.variant == "optimized"
    assert read.mcp_servers[0].auth is not None


def test_r9_snake_case_keys_of_the_roles_take_effect() -> None:
    """R9: the original reads one-word keys only."""
    read = config(
        """
agents:
  - name: c
    role: classifier
    classifier_config:
      categories: [{name: urgent, description: d, keywords: [now], examples: [x]}]
      use_embeddings: true
      confidence_threshold: 0.75
      multi_label: true
      few_shot_examples: [{input: i, category: urgent, reason: r}]
      temperature: 0
      max_tokens: 100
  - name: a
    role: aggregator
    aggregator_config:
      aggregation_strategy: voting_majority
      conflict_resolution: llm_mediated
      deduplication_method: semantic
      summarization_enabled: true
      max_input_sources: 3
      timeout_ms: 100
      semantic_similarity_threshold: 0.9
      source_weights: {x: 0.5}
      consensus_threshold: 0.6
  - name: p
    role: planner
    planner_config:
      planning_strategy: tree_of_thought
      max_steps: 5
      step_detail_level: brief
      enable_backtracking: true
      enable_self_critique: true
      reasoning_depth: 2
      parallelizable_steps: true
      include_alternatives: true
      example_plans: [{problem: p, steps: [s], explanation: e}]
"""
    )
    classifier, aggregator, planner = (agent for agent in read.agents)
    assert classifier.classifier_config is not None
    assert classifier.classifier_config.confidence_threshold == 0.75
    assert classifier.classifier_config.few_shot_examples[0].category == "urgent"
    assert aggregator.aggregator_config is not None
    assert aggregator.aggregator_config.aggregation_strategy == "voting_majority"
    assert aggregator.aggregator_config.source_weights == {"x": 0.5}
    assert planner.planner_config is not None
    assert planner.planner_config.enable_self_critique
    assert planner.planner_config.reasoning_depth == 2


def test_camel_case_twins_mean_the_same() -> None:
    snake = config("session: {base_dir: x, checkpoint: {auto_save: true}}")
    camel = config("session: {baseDir: x, checkpoint: {autoSave: true}}")
    assert snake == camel
    assert problems("session: {base_dir: x, baseDir: y}") == [
        "agents.yaml:1:1: session: baseDir means the same as another key here"
    ]


def test_type_is_another_word_for_role_as_in_the_documentation_of_the_original() -> None:
    assert config("agents: [{name: a, type: logger}]").agents[0].role == "logger"


def test_all_problems_are_told_at_once_each_with_its_place() -> None:
    text = """\
sesion: {}
agents:
  - name: a
    role: reactt
    interval: 5
    inputz: []
    classifierConfig:
      categories: [{name: x, desciption: y}]
      confidenceThreshold: 3
  - name: B
    role: react
    inputs: [{sauce: 3}]
session:
  checkpoint: {interval: 5x}
  store: postgres
"""
    keys = "agents[0].classifierConfig"
    assert problems(text) == [
        f"agents.yaml:{problem}"
        for problem in (
            "1:1: unknown key 'sesion'; did you mean 'session'?",
            "4:5: agents[0].role: unknown role: reactt",
            "5:5: agents[0].interval: '5' is no duration: write it as 500ms, 10s or 1h30m",
            "6:5: unknown key 'agents[0].inputz'; did you mean 'inputs'?",
            f"8:30: unknown key '{keys}.categories[0].desciption'; did you mean 'description'?",
            f"9:7: {keys}.confidenceThreshold: Input should be less than or equal to 1",
            f"10:5: agents[1].name: {A_NAME}",
            "12:14: agents[1].inputs[0].source is missing",
            "12:15: unknown key 'agents[1].inputs[0].sauce'; did you mean 'source'?",
            "14:16: session.checkpoint.interval: '5x' is no duration: write it as 500ms, 10s or 1h30m",
            "15:3: session.store: store 'postgres' does not exist; use file or redis",
        )
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- a", "1:1: a configuration is a mapping with the key agents"),
        ("agents: 5", "1:1: agents: must be a list"),
        ("agents: [a]", "1:10: agents[0]: must be a mapping"),
        ("session: 5", "1:1: session: must be a mapping"),
        ("agents: [{name: a, role: logger}, {name: a, role: logger}]", "agents[1].name: 'a' is there twice"),
        (
            "agents: [{name: one, role: logger, depends_on: [onne]}]",
            "1:49: agents[0].depends_on: there is no agent 'onne'; did you mean 'one'?",
        ),
        (
            "mcp_servers: [{name: web}]\nagents: [{name: one, role: react, mcp_servers: [wed]}]",
            "2:49: agents[0].mcp_servers: there is no MCP server 'wed'; did you mean 'web'?",
        ),
        ("agents: [{name: one, role: custom}]", "agents[0]: role custom needs a handler"),
        ("agents: [{name: one, role: logger, handler: m:f}]", "agents[0]: handler is for role custom"),
        ("agents: [{name: a, role: producer, interval: 0s}]", "interval: '0s' is too short"),
        ("agents: [{name: a, role: producer, interval: -1s}]", "interval: '-1s' is too short"),
        ("agents: [{name: a, role: react, tools: [{name: 'x y'}]}]", "tools[0].name"),
        (
            "agents: [{name: a, role: react, tools: [{name: x, input_schema: {type: array}}]}]",
            "the input_schema of a tool must be of type object",
        ),
        ("agents: [{name: a, role: react, session_mode: off}]", "'enabled', 'lightweight' or 'disabled'"),
        ("mcp_servers: [{name: a, transport: carrier}]", "'local', 'grpc' or 'http'"),
        ("model_services: [{name: a, model: b, runtime: x}]", "'ollama', 'vllm' or 'cloud'"),
    ],
)
def test_what_is_wrong_is_named(text: str, problem: str) -> None:
    assert problem in "\n".join(problems(text))


def test_keys_that_begin_with_x_are_left_alone() -> None:
    read = config("x-base: &base {role: logger}\nagents: [{<<: *base, name: a}]")
    assert read.agents[0].role == "logger"


def test_a_key_without_a_value_counts_as_absent() -> None:
    read = config("agents:\n  - name: a\n    role: logger\n    prompt:\nsession:\n")
    assert read.agents[0].prompt == ""
    assert read.session.enabled


def test_no_agents_are_no_error() -> None:
    assert config("agents: []").agents == ()
    assert config("").agents == ()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: failed to read config: No such file"):
        load_config(tmp_path / "none.yaml")


def test_a_secret_in_a_wrong_place_is_not_quoted() -> None:
    text = "\n".join(problems("mcp_servers: [{name: a, auth: {type: sk-topsecret}, tls: sk-topsecret}]"))
    assert "sk-topsecret" not in text


@pytest.mark.parametrize(
    ("text", "address"),
    [("host:1", ("host", 1)), (":1", ("", 1)), ("50051", ("", 50051)), ("[::1]:2", ("[::1]", 2))],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert split_address(text) == address


@pytest.mark.parametrize("text", ["", "host", "host:", "host:99999", "::1:5", "a:b:1", "host:-1"])
def test_no_addresses(text: str) -> None:
    with pytest.raises(ValueError, match="host:port"):
        split_address(text)
