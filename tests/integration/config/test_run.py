"""`aixgo run` as a user starts it: agents that work, endpoints, signals, exit codes."""

from __future__ import annotations

import json
import signal
import socket
from collections import Counter
from pathlib import Path

import pytest
from tests.support.aixgo_command import aixgo
from tests.support.model_server import ModelServer
from tests.support.run_process import RunProcess, wait_until

#: The structure of the file that the original ships as config/agents.yaml: from agent to agent.
SHIPPED = """
supervisor:
  name: cosmic-director
  model: gpt-4-turbo
  max_rounds: 10

agents:
  - name: ray-detector
    role: producer
    interval: 50ms
    outputs:
      - target: spectrum-analyzer

  - name: spectrum-analyzer
    role: react
    model: gpt-4-turbo
    prompt: |
      You are a physicist.
    tools:
      - name: query_telescope
        description: "Check pointing"
        input_schema:
          type: object
          properties:
            ra: { type: number, minimum: -180, maximum: 180 }
          required: [ra]
    inputs:
      - source: ray-detector
    outputs:
      - target: alert-logger

  - name: alert-logger
    role: logger
    listen: ":0"
    inputs:
      - source: spectrum-analyzer
"""


def test_r1_r2_the_shipped_file_works_unchanged(model: ModelServer) -> None:
    """R1: agents work until the end, not until the start is over. R2: what agents send each other arrives."""
    env = {
        "OPENAI_API_KEY": "sk-openai-secret",
        "OPENAI_BASE_URL": model.base_url,
        "XAI_API_KEY": "sk-xai-secret",
    }
    with RunProcess(SHIPPED, env=env) as process:
        alerts = process.wait_for_alerts("alert-logger", 8)
        assert {alert["type"] for alert in alerts} == {"analysis"}
        assert all("Cosmic ray: " in alert["payload"] for alert in alerts)
        _, document = process.get("/statusz")
        agents = {agent["name"]: agent["ready"] for agent in document["agents"]}
        assert agents == {"ray-detector": True, "spectrum-analyzer": True, "alert-logger": True}
        assert process.get("/health/ready") == (200, {"status": "ready"})
        assert process.get("/health")[1]["status"] == "healthy"
        assert process.addresses[0].startswith("127.0.0.1:")
        warned = [line["message"] for line in process.log() if line["level"] == "warning"]
        assert any("supervisor: has no effect" in text for text in warned)
        assert any("agents[1].tools: has no effect" in text for text in warned)
        before = len(process.alerts("alert-logger"))
        wait_until(lambda: len(process.alerts("alert-logger")) > before + 3, "they go on")
        assert process.stop() == 0
        assert "secret" not in process.text
    # R11: this vendor's key, and no other.
    assert set(model.authorizations) == {"Bearer sk-openai-secret"}


def test_what_it_shows_and_refuses_is_what_the_contract_says() -> None:
    text = """
agents:
  - {name: fast, role: custom, handler: "tests.support.custom_agents:recall", listen: "127.0.0.1:0"}
session: {enabled: false}
"""
    with RunProcess(text) as process:
        admin = f"http://127.0.0.1:{process.http_port}"
        checked = aixgo("conformance", "--target", process.addresses[0], "--admin", admin, "-o", "json")
        verdicts = Counter(each["verdict"] for each in json.loads(checked.stdout))
        assert (checked.code, verdicts["fail"]) == (0, 0), checked.stdout
        assert verdicts["pass"] >= 15


#: As the original documents it for classifiers: by topic, a topic with two readers, `type` instead of `role`.
BY_TOPIC = """
agents:
  - {name: content_producer, type: producer, interval: 20ms, outputs: [{target: unclassified_content}]}
  - name: fast
    type: custom
    handler: tests.support.custom_agents:recall
    inputs: [{source: unclassified_content}]
    outputs: [{target: classified_content}]
  - name: archive
    type: logger
    inputs: [{source: unclassified_content}]
  - name: sink
    type: logger
    inputs: [{source: classified_content}]
"""


def test_r2_topics_deliver_to_every_reader() -> None:
    with RunProcess(BY_TOPIC) as process:
        archived = process.wait_for_alerts("archive", 5)
        answered = process.wait_for_alerts("sink", 5)
        assert [alert["payload"] for alert in archived] == [
            json.loads(alert["payload"])["text"] for alert in answered
        ]
        assert process.stop(signal.SIGINT) == 0


ALL_ROLES = """
agents:
  - &ticker
    name: ticker
    role: producer
    interval: 20ms
    outputs: [{target: votes}]
    producer_config: {message: carbon tax}
  - {<<: *ticker, name: other}
  - name: vote
    role: aggregator
    inputs: [{source: votes}]
    outputs: [{target: results}]
    aggregator_config: {aggregation_strategy: voting_majority, timeout_ms: 200}
  - {name: sink, role: logger, inputs: [{source: results}], depends_on: [vote]}
  - {name: thinker, role: react, model: gpt-4}
  - name: sorter
    role: classifier
    model: gpt-4
    classifier_config: {categories: [{name: urgent}, {name: normal}]}
  - {name: planner, role: planner, model: claude-3-opus, planner_config: {max_steps: 3}}
"""


def test_r9_r10_all_roles_start_and_a_vote_is_counted(model: ModelServer) -> None:
    """R10: only three roles start in the original. R9: voting cannot be reached there."""
    env = {"OPENAI_BASE_URL": model.base_url, "ANTHROPIC_API_KEY": "sk-anthropic"}
    with RunProcess(ALL_ROLES, env=env) as process:
        _, document = process.get("/statusz")
        assert len(document["agents"]) == 7
        assert all(agent["ready"] for agent in document["agents"]), document
        (result,) = process.wait_for_alerts("sink", 1)
        assert result["type"] == "aggregation_result"
        content = json.loads(result["payload"])
        assert content["strategy_used"] == "voting_majority"
        assert content["aggregated_content"] == "carbon tax"
        assert process.stop() == 0


def test_an_agent_that_fails_does_not_end_the_process() -> None:
    text = """
agents:
  - {name: ticker, role: producer, interval: 20ms, outputs: [{target: bad}, {target: good}]}
  - {name: bad, role: custom, handler: "tests.support.custom_agents:fail", inputs: [{source: ticker}]}
  - {name: good, role: logger, inputs: [{source: ticker}]}
"""
    with RunProcess(text) as process:
        process.wait_for_alerts("good", 3)
        wait_until(lambda: len(process.log("message not answered")) > 2, "failures are logged")
        assert process.get("/health/ready")[0] == 200
        assert process.stop() == 0


def test_agents_start_after_what_they_depend_on_and_a_failing_start_ends_the_process() -> None:
    text = """
agents:
  - {name: late, role: logger, depends_on: [broken]}
  - {name: broken, role: custom, handler: "tests.support.custom_agents:Unstartable"}
"""
    with_process = RunProcess(text).launch()
    try:
        assert with_process.wait() == 1
        (line,) = with_process.log("start failed")
        assert line["error"].startswith("phase 0 startup failed: agent broken failed to become ready")
    finally:
        with_process.__exit__()


def test_an_agent_may_be_code_beside_the_file(tmp_path: Path) -> None:
    file = tmp_path / "agents.yaml"
    file.write_text("agents: [{name: a, role: custom, handler: 'my_own_agents:greet'}]")
    code = "import aixgo\n\n@aixgo.agent('greet')\nasync def greet(message):\n    return 'hello'\n"
    (tmp_path / "my_own_agents.py").write_text(code)
    with RunProcess(file) as process:
        assert process.get("/statusz")[1]["agents"][0]["ready"]
        assert process.stop() == 0


def test_several_agents_of_one_role() -> None:
    text = "agents:\n" + "".join(f"  - {{name: agent-{number}, role: logger}}\n" for number in (1, 2, 3))
    with RunProcess(text) as process:
        assert [agent["name"] for agent in process.get("/statusz")[1]["agents"]] == [
            "agent-1",
            "agent-2",
            "agent-3",
        ]
        assert process.stop() == 0


@pytest.mark.usefixtures("hang_ups")
@pytest.mark.parametrize(
    "numbers",
    [[signal.SIGTERM], [signal.SIGHUP, signal.SIGHUP]],
    ids=["SIGTERM", "a terminal that is closed, and a shell that says so, too"],
)
def test_work_that_has_begun_ends_before_the_process(tmp_path: Path, numbers: list[signal.Signals]) -> None:
    gate = tmp_path / "gate"
    text = """
agents:
  - {name: ticker, role: producer, interval: 10ms, outputs: [{target: slow}]}
  - name: slow
    role: custom
    handler: tests.support.custom_agents:wait
    inputs: [{source: ticker}]
    outputs: [{target: sink}]
  - {name: sink, role: logger, inputs: [{source: slow}]}
"""
    with RunProcess(text, env={"AIXGO_TEST_GATE": str(gate)}) as process:
        wait_until(
            lambda: process.metric("aixgo_agent_messages_total", 'agent="slow"') >= 1,
            "a message is in work",
        )
        for number in numbers:
            process.process.send_signal(number)
            wait_until(lambda: process.log("stopping"), "the process is stopping")
        assert process.get("/health/ready")[0] == 503
        assert process.process.poll() is None
        gate.touch()
        assert process.wait() == 0
        assert len(process.alerts("sink")) == 1


# --- the command line


def test_the_options_of_the_original_and_an_empty_configuration(tmp_path: Path) -> None:
    file = tmp_path / "agents.yaml"
    file.write_text("agents: []")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    with RunProcess(file, "-config", file, "-http-port", str(port), "-log-level", "debug") as process:
        assert process.http_port == port
        assert process.get("/health/live") == (200, {"status": "alive"})
        assert process.stop() == 0


def test_a_port_that_is_taken_is_told_with_exit_code_1(tmp_path: Path) -> None:
    file = tmp_path / "agents.yaml"
    file.write_text("agents: []")
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))  # noqa: S104 - what the admin server wants to have
        taken.listen()
        done = aixgo("run", "-c", file, "--http-port", str(taken.getsockname()[1]))
    assert done.code == 1
    assert "cannot listen on HTTP port" in done.stdout


def test_an_agent_that_cannot_be_made_is_told_with_its_place_and_exit_code_2(tmp_path: Path) -> None:
    file = tmp_path / "agents.yaml"
    file.write_text("agents: [{name: a, role: custom, handler: 'none_such:x'}]")
    done = aixgo("run", "-c", file)
    assert done.code == 2
    assert f"{file}:1:10: failed to create agent a: handler 'none_such:x'" in done.stderr
