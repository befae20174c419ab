"""A runtime that the checker starts itself: its files, its certificates, its model, its process."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import os
import shlex
import socket
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import aiohttp

from aixgo.contract import (
    RUNTIME_JSON,
    TLS_CA,
    TLS_CERT,
    TLS_KEY,
    RuntimeConfig,
    RuntimePaths,
    with_revisions,
)
from aixgo.version import CONTRACT_VERSION
from aixgo_cli.conformance.check import ViolationError
from aixgo_cli.conformance.subject import POLL_SECONDS, Subject
from aixgo_cli.conformance.volumes import replace_volume
from aixgo_cli.credentials import Identity
from aixgo_cli.errors import CliError, ExitCode
from aixgo_operator.pki.authority import Authority, create_authority
from aixgo_operator.pki.issue import KeyPair, LeafRequest, issue_leaf

if TYPE_CHECKING:
    from pathlib import Path

    from aixgo_cli.conformance.scripted_model import ScriptedModel

#: Stands for the folder with the files in the command that starts a runtime.
PLACEHOLDER = "{dir}"
START_SECONDS = 60.0
STOP_SECONDS = 30.0
DAY = timedelta(days=1)
SERVER_NAME = "conformance.team.svc"
AGENT, PARALLEL, STATELESS, SUSPENDED, BRIEF, FOREIGN = (
    "assistant",
    "parallel",
    "stateless",
    "suspended",
    "brief",
    "foreign",
)
MAX_CALLS = 8
SECRET = "model"  # noqa: S105 - the name of one
FIRST_KEY = "conformance-key-one"


@dataclass
class Process:
    """A running command and what it printed."""

    process: asyncio.subprocess.Process
    reader: asyncio.Task[bytes]

    async def exit_code(self, seconds: float = STOP_SECONDS) -> int:
        """Wait for the end."""
        try:
            async with asyncio.timeout(seconds):
                return await self.process.wait()
        except TimeoutError:
            raise ViolationError(f"the process did not exit within {seconds:g} s") from None

    async def output(self) -> str:
        """Return everything that was printed; the process must have ended."""
        return (await self.reader).decode(errors="replace")


class Laboratory:
    """One folder with the files of the contract, and the command that serves them."""

    foreign_agent = FOREIGN
    max_message_bytes = 256 * 1024

    def __init__(self, command: str, directory: Path, model: ScriptedModel) -> None:
        """Write the files of a whole runtime.

        Args:
            command: Starts the runtime; ``{dir}`` stands for the folder. No shell sees it.
            directory: An empty folder.
            model: Answers for the agents' model.

        Raises:
            CliError: the command cannot be read.
        """
        self._command = _split(command)
        self.paths = RuntimePaths.under(directory)
        self._directory = directory
        self.model = model
        self.key = FIRST_KEY
        self.process: Process | None = None
        self._authority = create_authority(now=datetime.now(UTC), duration=DAY)
        self.grpc_port, self.admin_port = _free_ports(2)
        self.config = self._first_config()
        self.paths.sessions.mkdir(parents=True)
        self.write_config(self.config)
        self.write_secret(FIRST_KEY)
        self.write_certificate(self.issue())

    def subject(self) -> Subject:
        """Return the runtime as a client of its namespace sees it."""
        uri = "spiffe://cluster.local/ns/team/client/conformance"
        request = LeafRequest("conformance", DAY, uris=(uri,), server=False)
        pair = issue_leaf(request, self._authority, now=datetime.now(UTC))
        return Subject(
            target=f"127.0.0.1:{self.grpc_port}",
            admin=f"http://127.0.0.1:{self.admin_port}",
            identity=Identity(pair.cert_pem, pair.key_pem, self._authority.cert_pem),
            server_name=SERVER_NAME,
            agent=AGENT,
            laboratory=self,
        )

    def issue(self, authority: Authority | None = None) -> KeyPair:
        """Issue a certificate for the runtime, by another authority if one is given."""
        uri = "spiffe://cluster.local/ns/team/agentruntime/conformance"
        request = LeafRequest("conformance", DAY, dns_names=(SERVER_NAME,), uris=(uri,))
        return issue_leaf(request, authority or self._authority, now=datetime.now(UTC))

    def write_config(self, document: dict[str, Any] | bytes) -> None:
        """Replace runtime.json; a document gets new revisions."""
        if isinstance(document, dict):
            config = with_revisions(RuntimeConfig.from_document(document))
            # A newer operator may write more; it must not matter.
            document = json.dumps({**config.document(), "conformanceUnknownField": {"x": 1}}).encode()
        replace_volume(self.paths.config, {RUNTIME_JSON: document})

    def write_secret(self, key: str) -> None:
        """Replace the API key."""
        self.key = key
        replace_volume(self.paths.secrets, {f"{SECRET}/key": key.encode()})

    def write_certificate(self, pair: KeyPair, key: bytes | None = None) -> None:
        """Replace certificate and key; with another key they do not fit each other."""
        ca = self._authority.cert_pem
        files = {TLS_CERT: pair.cert_pem, TLS_KEY: key or pair.key_pem, TLS_CA: ca}
        replace_volume(self.paths.tls, files)

    def changed(self, **changes: Any) -> dict[str, Any]:
        """Return the configuration with changes at its top."""
        return {**copy.deepcopy(self.config), **changes}

    async def launch(self) -> Process:
        """Run the command.

        Raises:
            CliError: there is no such program.
        """
        arguments = [part.replace(PLACEHOLDER, str(self._directory)) for part in self._command]
        try:
            process = await asyncio.create_subprocess_exec(
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
        except OSError as error:
            raise CliError(
                f"cannot run {arguments[0]!r}: {os.strerror(error.errno or 0)}",
                then="give a program and its arguments with --exec",
                code=ExitCode.USAGE,
            ) from error
        return Process(process, asyncio.ensure_future(_read(process)))

    async def start(self) -> None:
        """Start the runtime and wait until it says that it is ready.

        Raises:
            CliError: it does not get ready.
        """
        self.process = await self.launch()
        try:
            async with asyncio.timeout(START_SECONDS):
                while not await self._is_ready():
                    if self.process.process.returncode is not None:
                        raise TimeoutError
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            code = self.process.process.returncode
            await self.stop()
            output = await self.process.output()
            raise CliError(
                f"the runtime was not ready within {START_SECONDS:g} s"
                if code is None
                else f"the runtime ended with exit code {code} before it was ready",
                where=f"its last words: {output[-2000:]}",
                then="run the command by hand with a folder of your own",
                code=ExitCode.NOT_READY,
            ) from None

    async def stop(self) -> None:
        """End the process, whatever it does."""
        if self.process is not None and self.process.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.process.kill()
            await self.process.process.wait()

    async def _is_ready(self) -> bool:
        url = f"http://127.0.0.1:{self.admin_port}/statusz"
        try:
            async with aiohttp.ClientSession() as http, http.get(url) as response:
                document = await response.json()
        except (aiohttp.ClientError, OSError, ValueError):
            return False
        agents = {agent.get("name"): agent.get("ready") for agent in document.get("agents", [])}
        return all(agents.get(name) for name in (AGENT, PARALLEL, STATELESS, BRIEF))

    def _first_config(self) -> dict[str, Any]:
        model = {
            "provider": "openai",
            "name": "conformance",
            "baseURL": self.model.base_url,
            "apiKey": {"secret": SECRET, "key": "key"},
        }

        def agent(name: str, **more: Any) -> dict[str, Any]:
            prompt = {"text": "first prompt"}
            return {
                "name": name,
                "namespace": "team",
                "role": "react",
                "prompt": prompt,
                "model": model,
                **more,
            }

        return {
            "contract": CONTRACT_VERSION,
            "runtime": {"name": "conformance", "namespace": "team"},
            "grpc": {"port": self.grpc_port, "maxMessageBytes": self.max_message_bytes},
            "admin": {"port": self.admin_port},
            "limits": {"maxConcurrentCalls": MAX_CALLS, "drainTimeoutSeconds": 20},
            "tls": {"mode": "Mutual"},
            "agents": [
                agent(AGENT),
                agent(PARALLEL, session={"concurrency": "Parallel"}),
                agent(STATELESS, session={"mode": "Stateless"}),
                agent(SUSPENDED, operatingMode="Suspended"),
                agent(BRIEF, timeoutSeconds=2),
                {**agent(FOREIGN), "namespace": "elsewhere"},
            ],
            "sessions": {"type": "File", "file": {"durability": "os"}},
        }


async def _read(process: asyncio.subprocess.Process) -> bytes:
    output, _ = await process.communicate()
    return output


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def _split(command: str) -> list[str]:
    try:
        arguments = shlex.split(command)
    except ValueError:
        arguments = []
    if not arguments:
        raise CliError(
            f"{command!r} cannot be read as a command",
            where="--exec",
            then="quote it as for a shell",
            code=ExitCode.USAGE,
        )
    return arguments
