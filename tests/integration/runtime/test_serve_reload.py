"""Files that change while the process runs: what is taken, what is refused, and that calls do not notice."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from tests.support.model_server import ModelServer
from tests.support.pki import Authority, Leaf
from tests.support.runtime_process import RuntimeFiles, RuntimeProcess, custom, runtime_json

from aixgo.rpc.certificates import load_bundle
from aixgo.rpc.client import AgentClient, RpcError
from aixgo_cli.conformance.volumes import replace_volume

CODE = grpc.StatusCode


async def test_a_prompt_and_a_key_are_live_at_once(files: RuntimeFiles, me: Leaf) -> None:
    async with ModelServer() as model:

        def configure(prompt: str) -> None:
            model_config = {"name": "m", "baseURL": model.base_url, "apiKey": {"secret": "llm", "key": "key"}}
            agent = {"name": "a", "prompt": {"text": prompt}, "model": model_config}
            files.configure(runtime_json([agent, custom("recall")]))

        files.keep_secrets({"llm/key": "sk-first\n"})
        configure("first")
        async with RuntimeProcess(files) as runtime:
            before = (await runtime.ready()) and await runtime.statusz()
            async with runtime.client(me) as client:
                await client.execute("a", "hello")
                assert model.last_messages[0] == ("system", "first")
                began = time.monotonic()
                configure("second")
                while model.last_messages[0] != ("system", "second"):
                    # Within a second where the processor is not shared with other tests.
                    assert time.monotonic() - began < 3, "the new prompt is not live"
                    await client.execute("a", "hello")
                after = await runtime.statusz()
                assert after.config_revision != before.config_revision
                assert after.agents[0].revision != before.agents[0].revision
                assert after.agents[1] == before.agents[1], "an agent that did not change is not rebuilt"
                assert len([e for e in runtime.events("agent loaded") if e["agent"] == "recall"]) == 1

                assert set(model.authorizations) == {"Bearer sk-first"}
                files.keep_secrets({"llm/key": "sk-second"})
                began = time.monotonic()
                while model.authorizations[-1] != "Bearer sk-second":
                    assert time.monotonic() - began < 3, "the new key is not live"
                    await client.execute("a", "hello")
        assert not [line for line in runtime.output if "sk-" in line]


async def test_a_running_call_ends_on_the_agent_that_it_began_on(files: RuntimeFiles, me: Leaf) -> None:
    files.configure(runtime_json([custom("wait"), custom("gone", "wait")]))
    async with RuntimeProcess(files) as runtime:
        await runtime.ready()
        async with runtime.client(me) as client:
            running = [asyncio.create_task(client.execute(name, "x")) for name in ("wait", "gone")]
            await runtime.until(lambda s: s.in_flight == 2, "both calls run")
            files.configure(runtime_json([custom("wait", "recall")]))
            await runtime.until(
                lambda s: len(s.agents) == 1 and s.agents[0].ready, "the new agents are served"
            )
            assert (await client.execute("wait", "new")).text == "new"
            with pytest.raises(RpcError) as caught:
                await client.execute("gone", "x")
            assert caught.value.code is CODE.NOT_FOUND
            runtime.gate.touch()
            assert {result.text for result in await asyncio.gather(*running)} == {"done: x"}


async def test_a_bad_configuration_is_refused_and_the_old_one_goes_on(files: RuntimeFiles, me: Leaf) -> None:
    good = runtime_json([custom("recall")])
    files.configure(good)
    async with RuntimeProcess(files) as runtime:
        before = (await runtime.ready()) and await runtime.statusz()
        for content, text in (
            (b'{"runtime": ', "is not JSON"),
            ({**good, "contract": 2}, "contract version 2"),
            ({**good, "agents": [{"name": "UPPER", "namespace": "team"}]}, "agents[0].name"),
        ):
            files.configure(content)
            status = await runtime.until(
                lambda s, text=text: text in (s.last_config_error or ""), f"refused because of {text}"
            )
            assert status.config_revision == before.config_revision
        async with runtime.client(me) as client:
            assert (await client.execute("recall", "hello")).text == "hello"
        assert 'aixgo_config_reloads_total{result="failed"} 3.0' in (await runtime.get("/metrics"))[1]
        files.configure(runtime_json([custom("recall"), custom("more", "recall")]))
        status = await runtime.until(lambda s: len(s.agents) == 2, "a good one is taken again")
        assert status.last_config_error is None


async def test_an_agent_that_cannot_be_loaded_hurts_nobody_else(files: RuntimeFiles, me: Leaf) -> None:
    key = {"secret": "llm", "key": "key"}
    broken = [
        custom("nothing", "missing"),
        custom("nomodule") | {"handler": "no_such_module:x"},
        custom("never", "NeverStarts"),
        {
            "name": "tools",
            "role": "custom",
            "handler": "x:y",
            "tools": [{"name": "t", "mcp": {"url": "http://x"}}],
        },
        {"name": "planner", "role": "planner", "model": {"name": "m"}, "roleConfig": {"maxStep": 3}},
        {"name": "nokey", "model": {"name": "m"}},
        {"name": "nosecret", "model": {"name": "m", "apiKey": key}},
    ]
    greeting = custom("good", "Configured", roleConfig={"greeting": "hi"})
    files.configure(runtime_json([greeting, *broken, custom("off", "recall", operatingMode="Suspended")]))
    async with RuntimeProcess(files) as runtime:
        status = await runtime.until(
            lambda s: all(agent.error != "loading" for agent in s.agents), "all have been tried"
        )
        agents = {agent.name: agent for agent in status.agents}
        assert (agents["good"].ready, agents["good"].loaded, agents["good"].error) == (True, True, None)
        assert (agents["off"].ready, agents["off"].loaded, agents["off"].error) == (False, True, "suspended")
        for name, text in {
            "nothing": "has no 'missing'",
            "nomodule": "no module named 'no_such_module'",
            "never": "start failed: RuntimeError",
            "tools": "role custom uses no tools",
            "planner": "roleConfig.maxStep: unknown key of role planner",
            "nokey": "needs an API key",
            "nosecret": "secret 'llm', key 'key' is not available",
        }.items():
            assert text in (agents[name].error or ""), name
            assert (agents[name].ready, agents[name].loaded, agents[name].revision) == (False, False, "")
        async with runtime.client(me) as client:
            assert (await client.execute("good", "you")).text == "hi you"
            for name in ("never", "off"):
                with pytest.raises(RpcError) as caught:
                    await client.execute(name, "x")
                assert caught.value.code is CODE.UNAVAILABLE
        assert (await runtime.get("/health/ready"))[0] == 200

        # What works is kept when its next version does not load; what was missing is found when it comes.
        files.configure(runtime_json([custom("good", "missing"), broken[-1]]))
        files.keep_secrets({"llm/key": "sk"})
        status = await runtime.until(
            lambda s: len(s.agents) == 2 and s.agents[1].ready and s.agents[0].error, "the secret is found"
        )
        assert (status.agents[0].ready, status.agents[0].loaded) == (True, False)
        async with runtime.client(me) as client:
            assert (await client.execute("good", "you")).text == "hi you"


async def test_certificates_are_replaced_under_an_open_channel(
    files: RuntimeFiles, authority: Authority, me: Leaf
) -> None:
    """O15: the new leaf is served without a restart."""
    files.configure(runtime_json([custom("recall")]))
    new_authority = Authority("new CA")
    first = await _served(files)
    second = authority.runtime("r", "team")
    async with RuntimeProcess(files) as runtime:
        await runtime.ready()
        async with runtime.client(me) as client:
            assert (await client.execute("recall", "a")).text == "a"

            files.certify(second, **{"tls.key": authority.runtime("r", "team").key})
            status = await runtime.until(lambda s: s.tls.last_reload_error, "half a pair is refused")
            assert status.tls.serial_number == first
            for bad in (
                authority.runtime("r", "team", ends=-timedelta(minutes=1)),
                new_authority.runtime("r", "team", trust=authority.pem),
            ):
                files.certify(bad)
                seen = status.tls.last_reload_error
                status = await runtime.until(lambda s, seen=seen: s.tls.last_reload_error != seen, "refused")
                assert status.tls.serial_number == first
            assert (await client.execute("recall", "b")).text == "b"
            async with runtime.client(me) as another:
                assert (await another.execute("recall", "c")).text == "c"

            files.certify(second)
            status = await runtime.until(
                lambda s: s.tls.serial_number == second.serial, "the new one is served"
            )
            assert status.tls.last_reload_error is None
            assert (await client.execute("recall", "d")).text == "d"
            assert await _meets(runtime, me) == second.serial
        metrics = (await runtime.get("/metrics"))[1]
        assert 'aixgo_tls_reloads_total{result="failed"} 3.0' in metrics
        assert 'aixgo_tls_reloads_total{result="ok"} 1.0' in metrics


async def test_a_new_authority_takes_over_without_a_failed_call(
    files: RuntimeFiles, authority: Authority, me: Leaf
) -> None:
    """Trust both, issue from the new one, drop the old one; a client on one channel all the time."""
    new = Authority("new CA")
    both = authority.pem + new.pem
    files.configure(runtime_json([custom("recall")], grpc={"port": 0, "maxConnectionAgeSeconds": 1}))
    client_files = files.root / "client"
    replace_volume(client_files, me.files())
    calls = 0
    stop = asyncio.Event()

    async def load(client: AgentClient) -> None:
        nonlocal calls
        while not stop.is_set():
            assert (await client.execute("recall", "x", timeout=10)).text == "x"
            calls += 1

    async with RuntimeProcess(files) as runtime:
        await runtime.ready()
        async with AgentClient(f"127.0.0.1:{runtime.grpc_port}", client_files) as client:
            loading = [asyncio.create_task(load(client)) for _ in range(2)]
            try:
                for server, own in (
                    (authority.runtime("r", "team", trust=both), authority.client("me", "team", trust=both)),
                    (new.runtime("r", "team", trust=both), new.client("me", "team", trust=both)),
                    (new.runtime("r", "team"), new.client("me", "team")),
                ):
                    replace_volume(client_files, own.files())
                    before = calls
                    while calls < before + 20:  # the client has taken its new files
                        await asyncio.sleep(0.01)
                        assert not any(task.done() for task in loading)
                    files.certify(server)
                    await runtime.until(lambda s, n=server.serial: s.tls.serial_number == n, "served")
                # Longer than the age of a connection: what was opened with the old CA has been replaced.
                before, end = calls, time.monotonic() + 2
                while time.monotonic() < end:
                    await asyncio.sleep(0.05)
                    assert not any(task.done() for task in loading)
                assert calls > before
            finally:
                stop.set()
                await asyncio.gather(*loading)
            with pytest.raises(RpcError):
                async with runtime.client(me) as old:
                    await old.execute("recall", "x", timeout=3)


async def _served(files: RuntimeFiles) -> str:
    return load_bundle(files.root / "tls").serial_number


async def _meets(runtime: RuntimeProcess, leaf: Leaf) -> str:
    """Return the serial number of the certificate that a new connection meets."""
    with tempfile.TemporaryDirectory() as name:
        directory = leaf.write(Path(name))
        context = ssl.create_default_context(cafile=str(directory / "ca.crt"))
        context.load_cert_chain(directory / "tls.crt", directory / "tls.key")
        context.set_alpn_protocols(["h2"])
        reader, writer = await asyncio.open_connection("127.0.0.1", runtime.grpc_port, ssl=context)
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        assert reader is not None
    return f"{x509.load_der_x509_certificate(der).serial_number:x}"
