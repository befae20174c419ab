"""Every certificate is verified, on the real pods: no call without one, none with one of another CA."""

from __future__ import annotations

import base64
from contextlib import contextmanager
from typing import TYPE_CHECKING

import grpc
import pytest
from tests.support.demo import steps
from tests.support.pki import Authority

from aixgo.rpc import agent_service_pb2 as pb
from aixgo.rpc import agent_service_pb2_grpc as pb_grpc
from aixgo_cli.kube import Cluster
from aixgo_cli.portforward import PortForward

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.installation import Installation

NAMESPACE = steps.NAMESPACE
SERVER_NAME = f"agents.{NAMESPACE}.svc"


def credentials_of(quickstart: Installation, secret: str) -> tuple[bytes, bytes, bytes]:
    data = quickstart.get(f"secret/{secret}", NAMESPACE)["data"]
    key, crt, ca = (base64.b64decode(data[k]) for k in ("tls.key", "tls.crt", "ca.crt"))
    return key, crt, ca


@contextmanager
def port_of_a_pod(quickstart: Installation) -> Iterator[int]:
    pod = quickstart.pods(NAMESPACE, "agents")[0]["metadata"]["name"]
    user = Cluster.connect(kubeconfig=str(quickstart.cluster.kubeconfig))
    with PortForward(user, NAMESPACE, pod, 50051) as forward:
        # Else a refusal below could be a forward that does not work.
        key, crt, ca = credentials_of(quickstart, "agents-client-cli")
        assert execute(forward.local_port, grpc.ssl_channel_credentials(ca, key, crt)).output.payload
        yield forward.local_port


def execute(
    port: int, credentials: grpc.ChannelCredentials, server_name: str = SERVER_NAME
) -> pb.ExecuteResponse:
    options = [("grpc.ssl_target_name_override", server_name)]
    with grpc.secure_channel(f"127.0.0.1:{port}", credentials, options=options) as channel:
        request = pb.ExecuteRequest(
            agent_name="assistant", input=pb.Message(type="user", payload='{"text": "Say hello."}')
        )
        return pb_grpc.AgentServiceStub(channel).Execute(request, timeout=30)


def refused(port: int, credentials: grpc.ChannelCredentials, server_name: str = SERVER_NAME) -> None:
    with pytest.raises(grpc.RpcError) as error:
        execute(port, credentials, server_name)
    assert error.value.code() == grpc.StatusCode.UNAVAILABLE


def test_client_certificate_of_the_installation_is_served(quickstart: Installation) -> None:
    with port_of_a_pod(quickstart) as port:
        assert port


def test_no_client_certificate_is_refused(quickstart: Installation) -> None:
    _, _, ca = credentials_of(quickstart, "agents-client-cli")
    with port_of_a_pod(quickstart) as port:
        refused(port, grpc.ssl_channel_credentials(ca))


def test_certificate_of_another_ca_is_refused(quickstart: Installation) -> None:
    """Everything in it is right, the SPIFFE id included; only the signature is another CA's."""
    _, _, ca = credentials_of(quickstart, "agents-client-cli")
    foreign = Authority("aixgo").runtime("agents", NAMESPACE)
    with port_of_a_pod(quickstart) as port:
        refused(port, grpc.ssl_channel_credentials(ca, foreign.key, foreign.certificate))


def test_server_of_another_ca_is_not_trusted(quickstart: Installation) -> None:
    """The other side of mutual: a caller that trusts another CA refuses the pod."""
    key, crt, _ = credentials_of(quickstart, "agents-client-cli")
    with port_of_a_pod(quickstart) as port:
        refused(port, grpc.ssl_channel_credentials(Authority("aixgo").pem, key, crt))


def test_server_name_is_verified(quickstart: Installation) -> None:
    key, crt, ca = credentials_of(quickstart, "agents-client-cli")
    with port_of_a_pod(quickstart) as port:
        refused(port, grpc.ssl_channel_credentials(ca, key, crt), f"someone-else.{NAMESPACE}.svc")


def test_plaintext_is_refused(quickstart: Installation) -> None:
    with port_of_a_pod(quickstart) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        request = pb.ExecuteRequest(agent_name="assistant", input=pb.Message(payload="{}"))
        with pytest.raises(grpc.RpcError) as error:
            pb_grpc.AgentServiceStub(channel).Execute(request, timeout=10)
    assert error.value.code() == grpc.StatusCode.UNAVAILABLE
