"""From a file and an environment to what a runtime does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from aixgo.config.problems import ConfigError
from aixgo.config.providers import detect_provider
from aixgo.config.reading import parse_config
from aixgo.config.translate import Connection, Plan, make_plan
from aixgo.contract import ModelConfig

ALL_KEYS = {
    "OPENAI_API_KEY": "sk-openai",
    "ANTHROPIC_API_KEY": "sk-anthropic",
    "XAI_API_KEY": "sk-xai",
    "GOOGLE_API_KEY": "sk-google",
    "HUGGINGFACE_API_KEY": "sk-huggingface",
}


def plan(text: str, environment: Mapping[str, str] = ALL_KEYS, **options: Any) -> Plan:
    return make_plan(parse_config(text.encode(), "agents.yaml"), environment, **options)


def problems(text: str, environment: Mapping[str, str] = ALL_KEYS, **options: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        plan(text, environment, **options)
    return str(caught.value)


def warnings(made: Plan) -> list[str]:
    return [warning.shown("agents.yaml") for warning in made.warnings]


def model_of(made: Plan) -> ModelConfig:
    model = made.agents[0].model
    assert model is not None
    return model


def key_of(made: Plan) -> str | None:
    reference = model_of(made).api_key
    return made.secrets.read(reference) if reference is not None else None


def react(model: str, more: str = "") -> str:
    return f"{more}\nagents: [{{name: a, role: react, model: '{model}'}}]"


# --- models and keys


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("meta-llama/Llama-2-7b", "huggingface"),
        ("EleutherAI/gpt-j", "huggingface"),
        ("google/flan-t5", "huggingface"),
        ("gpt-4-turbo", "openai"),
        ("gpt-3.5-turbo", "openai"),
        ("text-davinci-003", "openai"),
        ("claude-3-opus", "anthropic"),
        ("vertex/gemini", "vertexai"),
        ("gemini-1.5-flash", "google"),
        ("grok-2", "xai"),
        ("something-else", "openai"),
    ],
)
def test_the_provider_follows_from_the_model(model: str, provider: str) -> None:
    assert detect_provider(model) == provider


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("gpt-4", "openai"),
        ("claude-3-opus", "anthropic"),
        ("grok-2", "xai"),
        ("gemini-1.5-flash", "google"),
        ("mistralai/Mistral-7B", "huggingface"),
    ],
)
def test_r11_a_key_goes_to_its_vendor_only(model: str, provider: str) -> None:
    """R11: the original takes any key that is there and sends it to api.openai.com."""
    made = plan(react(model))
    assert model_of(made).provider == provider
    assert model_of(made).base_url is None
    assert key_of(made) == f"sk-{provider}"
    own = next(name for name, value in ALL_KEYS.items() if value == f"sk-{provider}")
    others = {name: value for name, value in ALL_KEYS.items() if name != own}
    text = problems(react(model), others)
    assert f"agents[0].model: model '{model}' needs {own}" in text
    assert "sk-" not in text


def test_a_base_url_of_the_environment_is_for_its_provider() -> None:
    local = {"OPENAI_BASE_URL": "http://localhost:1/v1"}
    assert model_of(plan(react("gpt-4"), local)).base_url == "http://localhost:1/v1"
    assert model_of(plan(react("gpt-4"), local)).api_key is None
    assert model_of(plan(react("claude-3"), ALL_KEYS | local)).base_url is None
    assert "ANTHROPIC_API_KEY" in problems(react("claude-3"), local)


def test_hf_token_is_a_key_of_hugging_face() -> None:
    assert key_of(plan(react("mistralai/x"), {"HF_TOKEN": "sk-hf"})) == "sk-hf"


def service(settings: str) -> str:
    return f"model_services: [{{name: mine, model: some/model, {settings}}}]"


@pytest.mark.parametrize(
    ("settings", "base_url", "key"),
    [
        ("runtime: ollama", "http://localhost:11434/v1", None),
        ("runtime: vllm", "http://localhost:8000/v1", None),
        ("runtime: ollama, config: {address: 'http://o:1/'}", "http://o:1/v1", None),
        ("runtime: ollama, address: 'o:1'", "http://o:1/v1", None),
        ("runtime: vllm, config: {address: 'https://v/api', api_key: sk-own}", "https://v/api", "sk-own"),
        ("runtime: vllm, config: {api_key_env: OWN_KEY}", "http://localhost:8000/v1", "sk-env"),
        ("runtime: cloud, provider: openai", None, "sk-openai"),
        ("runtime: cloud, provider: gemini", None, "sk-google"),
        ("runtime: cloud, provider: huggingface, config: {token: sk-own}", None, "sk-own"),
        ("runtime: cloud, provider: openai, config: {endpoint: 'https://e/v1'}", "https://e/v1", None),
        (
            "runtime: cloud, provider: openai, config: {endpoint: 'https://eu.api.openai.com/v1'}",
            "https://eu.api.openai.com/v1",
            "sk-openai",
        ),
        (
            "runtime: cloud, provider: openai, config: {endpoint: 'http://api.openai.com/v1'}",
            "http://api.openai.com/v1",
            None,
        ),
        (
            "runtime: cloud, provider: openai, config: {endpoint: 'https://evilopenai.com/v1'}",
            "https://evilopenai.com/v1",
            None,
        ),
    ],
)
@pytest.mark.parametrize("name", ["mine", "some/model"])
def test_model_services(settings: str, base_url: str | None, key: str | None, name: str) -> None:
    made = plan(react(name, service(settings)), ALL_KEYS | {"OWN_KEY": "sk-env"})
    assert (model_of(made).name, model_of(made).base_url, key_of(made)) == ("some/model", base_url, key)


def test_model_services_that_cannot_be_had() -> None:
    text = react("mine", service("runtime: cloud, provider: cohere"))
    assert "provider 'cohere' does not exist here; use one of anthropic, gemini" in problems(text)
    text = react("mine", service("runtime: vllm, config: {api_key_env: NOT_THERE}"))
    assert "NOT_THERE is not set in the environment" in problems(text)
    assert "Vertex AI is not supported" in problems(react("vertex/gemini-1.5"))


def test_settings_without_effect_are_named() -> None:
    more = service("runtime: ollama, transport: grpc, config: {variant: optimized, quantization: int4}")
    assert warnings(plan(react("mine", more))) == [
        "agents.yaml:1:67: model_services[0].transport: has no effect: models are asked over HTTP",
        "agents.yaml:1:93: model_services[0].config.variant: has no effect",
        "agents.yaml:1:113: model_services[0].config.quantization: has no effect",
    ]
    assert "is not used by any agent" in warnings(plan(service("runtime: ollama")))[0]


# --- roles


def test_r10_all_roles_have_what_their_factory_wants() -> None:
    made = plan(
        """
agents:
  - {name: r, role: react, model: gpt-4, prompt: be kind}
  - {name: c, role: classifier, model: gpt-4, classifier_config: {categories: [{name: x}], max_tokens: 7}}
  - {name: v, role: aggregator, aggregator_config: {aggregation_strategy: voting_majority}}
  - {name: p, role: planner, model: gpt-4, planner_config: {max_steps: 3}}
  - {name: d, role: producer, interval: 800ms}
  - {name: l, role: logger}
"""
    )
    by_name = {agent.name: agent for agent in made.agents}
    assert by_name["r"].prompt.text == "be kind"
    assert by_name["c"].role_config == {"categories": [{"name": "x"}], "max_tokens": 7}
    assert by_name["v"].role_config == {"aggregation_strategy": "voting_majority"}
    assert by_name["p"].role_config == {"max_steps": 3}
    assert by_name["d"].role_config == {"interval": "800ms"}
    assert by_name["l"].model is None


def test_what_a_role_lacks_is_named() -> None:
    text = problems(
        """
agents:
  - {name: r, role: react}
  - {name: c, role: classifier, model: gpt-4}
  - {name: a, role: aggregator}
"""
    )
    assert "agents.yaml:3:5: agents[0].model: role react needs a model" in text
    assert "agents.yaml:4:15: agents[1].role: role classifier needs classifier_config" in text
    assert "agents.yaml:5:5: agents[2].model: role aggregator needs a model" in text


def test_keys_that_a_role_does_not_use_are_named() -> None:
    made = plan(
        "agents: [{name: a, role: logger, interval: 1s, model: gpt-4, planner_config: {max_steps: 1}}]"
    )
    assert [text.split(": ", 1)[1] for text in warnings(made)] == [
        "agents[0].interval: has no effect on role logger",
        "agents[0].model: has no effect on role logger",
        "agents[0].planner_config: has no effect on role logger",
    ]


# --- tools


def test_mcp_servers_over_http_become_tools() -> None:
    made = plan(
        """
mcp_servers:
  - {name: web, transport: http, address: "https://tools/mcp", auth: {type: bearer, token_env: WEB_TOKEN}}
agents: [{name: a, role: react, model: gpt-4, mcp_servers: [web]}]
""",
        ALL_KEYS | {"WEB_TOKEN": "t0ken-of-web"},
    )
    (tool,) = made.agents[0].tools
    assert tool.mcp is not None
    assert (tool.name, tool.mcp.url, tool.mcp.headers_secret) == ("web", "https://tools/mcp", "web")
    assert made.secrets.read(made.headers["web"]["Authorization"]) == "t0ken-of-web"
    assert "t0ken-of-web" not in repr(made)


@pytest.mark.parametrize(
    ("server", "problem"),
    [
        ("transport: grpc, address: 'h:1'", "mcp_servers[0].transport: transport grpc is not supported"),
        ("transport: http", "needs the server's URL"),
        ("transport: http, address: 'ftp://x'", "needs the server's URL"),
        ("transport: http, address: 'http://x', tls: true", "tls: true contradicts"),
        ("transport: http, address: x, auth: {type: bearer}", "auth needs token_env, or token"),
        ("transport: http, address: x, auth: {token_env: NONE}", "NONE is not set in the environment"),
    ],
)
def test_mcp_servers_that_cannot_be_had(server: str, problem: str) -> None:
    text = f"mcp_servers: [{{name: w, {server}}}]\n"
    text += "agents: [{name: a, role: react, model: gpt-4, mcp_servers: [w]}]"
    assert problem in problems(text)


def test_the_address_of_a_server_may_leave_the_scheme_to_tls() -> None:
    for tls, url in (
        ("", "https://h:1/mcp"),
        (", tls: true", "https://h:1/mcp"),
        (", tls: false", "http://h:1/mcp"),
    ):
        text = f"mcp_servers: [{{name: w, transport: http, address: 'h:1/mcp'{tls}}}]\n"
        made = plan(text + "agents: [{name: a, role: react, model: gpt-4, mcp_servers: [w]}]")
        mcp = made.agents[0].tools[0].mcp
        assert mcp is not None
        assert mcp.url == url


# --- channels and processes


SHIPPED = """
agents:
  - {name: detector, role: producer, outputs: [{target: logs}, {target: far, addr: "REMOTE"}]}
  - {name: logs, role: logger, listen: "LISTEN", inputs: [{source: detector}], depends_on: [far]}
"""


def distributed(listen: str, remote: str) -> str:
    return SHIPPED.replace("LISTEN", listen).replace("REMOTE", remote)


def test_d10_listen_addr_and_the_grpc_port_take_effect() -> None:
    tls = Connection(tls_directory=Path("certs"))
    made = plan(distributed(":50053", "other:50051"), connection=tls, grpc_port=9090)
    assert made.listen == ("[::]:50053", "[::]:9090")
    assert made.remotes == {"far": "other:50051"}
    assert made.dependencies == {"far": (), "detector": (), "logs": ("far",)}
    assert made.warnings == ()


def test_without_tls_nothing_leaves_the_machine() -> None:
    made = plan(distributed(":50053", "localhost:1"), grpc_port=9090)
    assert made.listen == ("127.0.0.1:50053", "127.0.0.1:9090")
    assert "listens on 127.0.0.1:50053 only, as there is no TLS" in "\n".join(warnings(made))
    assert "--tls-dir" in problems(distributed("0.0.0.0:50053", "localhost:1"))
    assert "other is not this machine: give --tls-dir" in problems(distributed(":50053", "other:1"))
    made = plan(distributed("0.0.0.0:50053", "other:1"), connection=Connection(allow_insecure=True))
    assert made.listen == ("0.0.0.0:50053",)
    assert made.remotes == {"far": "other:1"}


def test_addresses_are_checked() -> None:
    text = problems(distributed("nonsense", "also nonsense"))
    assert "agents[1].listen: 'nonsense' is not an address" in text
    assert "agents[0].outputs[1].addr: 'also nonsense' is not an address" in text
    other = "agents: [{name: a, role: producer, outputs: [{target: b, addr: ':1'}, {target: b, addr: ':2'}]}]"
    assert "agents[0].outputs[1].addr: b has another addr elsewhere" in problems(other)


def test_ends_that_match_nothing_are_named() -> None:
    made = plan(
        "agents: [{name: a, role: producer, outputs: [{target: tpic}]},"
        " {name: b, role: logger, inputs: [{source: topic}]}]"
    )
    assert [text.split(": ", 1)[1] for text in warnings(made)] == [
        "agents[0].outputs[0].target: nothing reads tpic",
        "agents[1].inputs[0].source: no output feeds topic",
    ]


def test_a_cycle_is_told_before_anything_starts() -> None:
    text = problems(
        "agents:\n  - {name: a, role: logger, depends_on: [b]}\n  - {name: b, role: logger, depends_on: [a]}"
    )
    assert "agents.yaml:2:29: agents[0].depends_on: dependency cycle detected: a -> b -> a" in text


# --- the rest


def test_keys_of_the_original_without_effect_are_warned_of() -> None:
    text = "supervisor: {name: s}\n" + react("gpt-4").replace(
        "}]", ", session_mode: lightweight, tools: [{name: t}]}]"
    )
    told = "\n".join(warnings(plan(text)))
    assert "agents.yaml:1:1: supervisor: has no effect" in told
    assert "agents[0].tools: has no effect: tools in the file have no implementation (t)" in told
    assert "session_mode: lightweight is kept durably" in told


def test_sessions_are_on_unless_the_file_says_no() -> None:
    agents = (
        "agents: [{name: a, role: logger, listen: ':1'}, {name: b, role: logger, session_mode: disabled}]"
    )
    made = plan(agents)
    assert made.session is not None
    assert made.persistent == ("a",)
    off = plan("session: {enabled: false}\n" + agents)
    assert (off.session, off.persistent) == (None, ())


def test_the_settings_of_the_store_fit_the_store() -> None:
    text = problems("session: {store: redis, redis: {address: 'http://x'}}")
    assert "agents.yaml:1:33: session.redis.address: not a Redis address" in text
    assert "session.redis: has no effect" in "\n".join(warnings(plan("session: {redis: {db: 1}}")))
    assert "session.base_dir: has no effect" in "\n".join(
        warnings(plan("session: {store: redis, base_dir: x}"))
    )


def test_sessions_that_nobody_can_use_are_not_opened() -> None:
    assert plan("agents: [{name: a, role: logger}]").session is None
    asked = plan("session: {enabled: true}\nagents: [{name: a, role: logger}]")
    assert asked.session is not None
    assert "session: no conversation can arrive" in warnings(asked)[0]
