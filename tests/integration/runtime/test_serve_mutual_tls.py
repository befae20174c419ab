"""Who gets in: client certificates, namespaces, and what each refusal looks like."""

from __future__ import annotations

import grpc
import grpc.aio
import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tests.support.pki import Authority, Leaf
from tests.support.runtime_process import RuntimeFiles, RuntimeProcess, custom, runtime_json

from aixgo.message import Message
from aixgo.rpc.certificates import load_bundle
from aixgo.rpc.client import AgentClient, RpcError
from aixgo.rpc.credentials import open_channel

CODE = grpc.StatusCode


async def refusal(client: AgentClient, agent: str = "recall") -> RpcError:
    async with client:
        with pytest.raises(RpcError) as caught:
            await client.execute(agent, "hello", timeout=5)
    return caught.value


async def test_only_callers_with_our_certificates_and_our_namespace_get_in(
    files: RuntimeFiles, authority: Authority, me: Leaf, stranger: Leaf
) -> None:
    files.configure(
        runtime_json(
            [custom("recall"), custom("open", "recall", allowedCallerNamespaces=["elsewhere"])],
        )
    )
    foreign = Authority("foreign").client("me", "team", trust=authority.pem)
    server_only = authority.issue(usages=(ExtendedKeyUsageOID.SERVER_AUTH,))
    nobody = authority.issue(dns=(), ips=("127.0.0.1",))
    async with RuntimeProcess(files) as runtime:
        await runtime.ready()
        async with runtime.client(me) as client:
            assert (await client.execute("recall", "hello")).text == "hello"

        assert (await refusal(runtime.client(None))).code is CODE.UNAVAILABLE, "plaintext"
        bundle = load_bundle(me.write(files.root / "plain"), "client")
        for credentials in (
            grpc.ssl_channel_credentials(bundle.ca_pem),
            grpc.ssl_channel_credentials(bundle.ca_pem, foreign.key, foreign.certificate),
            grpc.ssl_channel_credentials(bundle.ca_pem, server_only.key, server_only.certificate),
        ):
            async with grpc.aio.secure_channel(f"127.0.0.1:{runtime.grpc_port}", credentials) as channel:
                stub = health_pb2_grpc.HealthStub(channel)
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
                assert caught.value.code() is CODE.UNAVAILABLE

        denied = await refusal(runtime.client(stranger))
        assert denied.code is CODE.PERMISSION_DENIED
        unknown = await refusal(runtime.client(stranger), "recalx")
        assert (unknown.code, unknown.text) == (denied.code, denied.text.replace("recall", "recalx"))
        assert (await refusal(runtime.client(nobody))).code is CODE.PERMISSION_DENIED
        assert (await refusal(runtime.client(me), "unknown")).code is CODE.NOT_FOUND
        async with runtime.client(stranger) as client:
            assert (await client.execute("open", "hello")).text == "hello"

        metrics = (await runtime.get("/metrics"))[1]
        assert 'aixgo_authorization_refused_total{agent="recall"} 2.0' in metrics
        assert 'aixgo_authorization_refused_total{agent=""} 1.0' in metrics

        # The operator tells it from here; agents that there are not do not count.
        refused = (await runtime.until(lambda s: s.in_flight == 0, "no call is running")).refused_calls
        home = next(each for each in refused if each.caller.startswith("spiffe://"))
        assert {each.agent for each in refused} == {"recall"}
        assert [each.count for each in refused] == [1, 1]
        # Who may call by the new rules is not told any more.
        namespace = home.caller.split("/")[4]
        files.configure(runtime_json([custom("recall", allowedCallerNamespaces=[namespace])]))
        await runtime.until(
            lambda s: home.caller not in {each.caller for each in s.refused_calls}, "it is forgotten"
        )
        async with runtime.client(stranger) as client:
            assert (await client.execute("recall", "hello")).text == "hello"


async def test_a_client_meets_only_the_server_that_it_wants(
    files: RuntimeFiles, authority: Authority, me: Leaf
) -> None:
    files.configure(runtime_json([custom("recall")]))
    async with RuntimeProcess(files) as runtime:
        await runtime.ready()
        async with runtime.client(me, "r.team.svc") as client:
            assert (await client.execute("recall", "hello")).text == "hello"
        assert (await refusal(runtime.client(me, "other.team.svc"))).code is CODE.UNAVAILABLE
        distrusting = authority.client("me", "team", trust=Authority("foreign").pem)
        directory = distrusting.write(files.root / "distrusting")
        credentials = grpc.ssl_channel_credentials(distrusting.ca, distrusting.key, distrusting.certificate)
        assert directory.is_dir()
        async with grpc.aio.secure_channel(f"127.0.0.1:{runtime.grpc_port}", credentials) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        assert caught.value.code() is CODE.UNAVAILABLE


async def test_health_reflection_and_send_with_listen(files: RuntimeFiles, me: Leaf) -> None:
    files.configure(
        runtime_json(
            [
                custom("recall"),
                custom("broken", "missing"),
                custom("off", "recall", operatingMode="Suspended"),
            ]
        )
    )
    async with RuntimeProcess(files) as runtime:
        await runtime.until(lambda s: len(s.agents) == 3 and s.agents[2].ready, "recall is ready")
        bundle = load_bundle(me.write(files.root / "me"), "client")
        async with open_channel(f"127.0.0.1:{runtime.grpc_port}", bundle) as channel:
            health = health_pb2_grpc.HealthStub(channel)

            async def serving(name: str) -> bool:
                answer = await health.Check(health_pb2.HealthCheckRequest(service=name), timeout=5)
                return answer.status == health_pb2.HealthCheckResponse.SERVING

            assert await serving("")
            assert await serving("recall")
            assert not await serving("broken")
            assert not await serving("off")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await serving("unknown")
            assert caught.value.code() is CODE.NOT_FOUND

            reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
            asked = [reflection_pb2.ServerReflectionRequest(list_services="")]
            answers = [answer async for answer in reflection.ServerReflectionInfo(iter(asked))]
            names = {service.name for service in answers[0].list_services_response.service}
            assert {"aixgo.AgentService", "grpc.health.v1.Health"} <= names

        async with runtime.client(me) as client, runtime.client(me) as listener:
            message = Message.new("note", {"text": "later"}).with_metadata("nested", {"a": [1, "x"]})
            await client.send("recall", message)
            listening = listener.listen("recall")
            assert await anext(listening) == message
            await listening.aclose()
