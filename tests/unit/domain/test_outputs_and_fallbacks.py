"""Agents that messages go to, and keys of models that stand in for others."""

from __future__ import annotations

from typing import Any

from tests.support.domain import make_agent, make_runtime, resolve, secret

OTHER = make_runtime("other")
NAMESPACE = OTHER.namespace
TARGET = make_agent("sink", runtimeRef={"name": "other"})


def sender(target: str) -> Any:
    return make_agent(outputs=[{"target": target}])


def test_an_output_to_an_agent_of_another_runtime_gets_a_route() -> None:
    runtime = make_runtime()
    resolved = resolve(
        runtime,
        sender("sink"),
        target_agents={(NAMESPACE, "sink"): TARGET},
        target_runtimes={(NAMESPACE, "other"): OTHER},
    )
    (route,) = resolved.config.routes
    assert (route.agent, route.namespace) == ("sink", NAMESPACE)
    assert resolved.agents[0].problems == ()


def test_an_output_to_no_agent_is_a_channel() -> None:
    resolved = resolve(make_runtime(), sender("topic"))
    assert resolved.config.routes == ()
    assert resolved.agents[0].problems == ()


def fallbacks(*models: Any) -> Any:
    return make_agent(roleConfig={"fallbackModels": list(models)})


def test_the_key_of_a_fallback_model_is_a_file() -> None:
    model = {"name": "big", "provider": "openai", "apiKeySecretRef": {"name": "keys", "key": "big"}}
    keys = {(NAMESPACE, "keys"): secret(big="k")}
    resolved = resolve(make_runtime(), fallbacks("small", model), secrets=keys)
    (agent,) = resolved.config.agents
    assert agent.role_config["fallbackModels"] == [
        "small",
        {"name": "big", "provider": "openai", "apiKey": {"secret": "keys", "key": "big"}},
    ]
    assert [source.name for source in resolved.secret_files if "big" in source.items] == ["keys"]
    assert resolved.agents[0].problems == ()


def test_a_key_that_is_missing_is_told() -> None:
    model = {"name": "big", "apiKeySecretRef": {"name": "keys", "key": "big"}}
    (agent,) = resolve(make_runtime(), fallbacks(model)).agents
    assert "Secret team-a/keys not found" in agent.problems[0].message.replace(NAMESPACE, "team-a")


def test_a_name_that_no_secret_has_breaks_only_its_agent() -> None:
    model = {"name": "big", "apiKeySecretRef": {"name": "../keys", "key": "big"}}
    resolved = resolve(make_runtime(), fallbacks(model))
    assert resolved.agents[0].config is None
    assert resolved.agents[0].problems[0].reason == "InvalidSpec"
    assert not any(".." in source.name for source in resolved.secret_files)
