"""Failures that somebody has to cause, files that change, and the end of the process."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from aixgo.rpc.errors import retry_after
from aixgo_cli.conformance.check import Checks, ViolationError, require
from aixgo_cli.conformance.laboratory import AGENT, DAY, MAX_CALLS
from aixgo_cli.conformance.subject import POLL_SECONDS, ask
from aixgo_operator.pki.authority import create_authority
from aixgo_operator.pki.inspect import parse_certificate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aixgo_cli.conformance.laboratory import Laboratory
    from aixgo_cli.conformance.subject import Subject

check = Checks()

CODE = grpc.StatusCode
#: Seconds until a replaced file must be in force.
RELOAD_SECONDS = 30.0


async def _call_until(subject: Subject, condition: Callable[[], bool], what: str) -> None:
    try:
        async with asyncio.timeout(RELOAD_SECONDS):
            while not condition():
                await subject.execute(ask(AGENT, "again"))
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        raise ViolationError(f"not within {RELOAD_SECONDS:g} s: {what}") from None


@check("model-failed", "a model provider that fails is UNAVAILABLE, a rate limit RESOURCE_EXHAUSTED")
async def model_failed(subject: Subject) -> None:
    """Let the model fail in several ways."""
    subject.controlled()
    for status, code in ((500, CODE.UNAVAILABLE), (401, CODE.UNAVAILABLE), (429, CODE.RESOURCE_EXHAUSTED)):
        await subject.refused(subject.execute(ask(AGENT, f"fail {status}")), code)


@check("errors-tell-nothing", "never a stack trace, a key, a path or an address in the text; an error id")
async def errors_tell_nothing(subject: Subject) -> None:
    """Let the model echo the key in its error."""
    key = subject.controlled().key
    error = await subject.refused(subject.execute(ask(AGENT, "fail 401")), CODE.UNAVAILABLE)
    text = error.details() or ""
    told = [word for word in (key, "10.1.2.3", "127.0.0.1", "/srv", "Traceback") if word in text]
    require(not told, f"the text has {', '.join(told)}")
    require("error id" in text, f"the text has no error id: {text}")


@check("limits-calls", "too many concurrent calls are RESOURCE_EXHAUSTED with RetryInfo")
async def too_many_calls(subject: Subject) -> None:
    """Fill the runtime."""
    model = subject.controlled().model
    running = [asyncio.ensure_future(subject.execute(ask(AGENT, "wait"))) for _ in range(MAX_CALLS)]
    try:
        await subject.until(lambda status: status.in_flight == MAX_CALLS, f"{MAX_CALLS} calls in flight")
        error = await subject.refused(subject.execute(ask(AGENT, "x")), CODE.RESOURCE_EXHAUSTED)
        require(retry_after(tuple(error.trailing_metadata() or ())), "there is no RetryInfo")
    finally:
        await _release(model, running)
    await subject.until(lambda status: status.in_flight == 0, "no call in flight after all have ended")


async def _release(model: Any, running: Sequence[asyncio.Future[Any]]) -> None:
    while any(not call.done() for call in running):
        model.release()
        await asyncio.wait(running, timeout=POLL_SECONDS)
    await asyncio.gather(*running, return_exceptions=True)


@check("reload-config", "runtime.json reloads without a restart; running calls are not touched")
async def reload_config(subject: Subject) -> None:
    """Change the prompt while a call runs."""
    laboratory = subject.controlled()
    model = laboratory.model
    before = await subject.statusz()
    running = asyncio.ensure_future(subject.execute(ask(AGENT, "wait")))
    await subject.until(lambda status: status.in_flight == 1, "the call is in flight")
    changed = laboratory.changed()
    changed["agents"][0]["prompt"] = {"text": "second prompt"}
    laboratory.write_config(changed)
    laboratory.config = changed
    await _call_until(
        subject, lambda: "second prompt" in model.system_prompts[-1], "the new prompt is in force"
    )
    after = await subject.until(
        lambda status: status.config_revision != before.config_revision, "/statusz has the new revision"
    )
    require(after.started_at == before.started_at, "the process was restarted")
    model.release()
    await running


@check("reload-config-refused", "a bad runtime.json is refused, visible in /statusz, and the old one serves")
async def bad_config(subject: Subject) -> None:
    """Write half a file, and one of a newer contract."""
    laboratory = subject.controlled()
    before = await subject.statusz()
    newer = b'{"contract": 999, "runtime": {"name": "x", "namespace": "y"}}'
    for content in (b'{"contract": 1,', newer):
        laboratory.write_config(content)
        status = await subject.until(
            lambda status: status.last_config_error, "lastConfigError is set", RELOAD_SECONDS
        )
        require(status.config_revision == before.config_revision, "/statusz has another revision")
        await subject.execute(ask(AGENT, "x"))
        laboratory.write_config(laboratory.config)
        await subject.until(
            lambda status: not status.last_config_error, "a good file clears it", RELOAD_SECONDS
        )


@check("reload-secret", "a replaced API key is used without a restart")
async def reload_secret(subject: Subject) -> None:
    """Replace the key."""
    laboratory = subject.controlled()
    key = f"conformance-{secrets.token_hex(8)}"
    laboratory.write_secret(key)
    await _call_until(subject, lambda: laboratory.model.keys[-1] == key, "the new key is used")


@check("reload-certificate", "a replaced certificate is used without a restart")
async def reload_certificate(subject: Subject) -> None:
    """Replace certificate and key."""
    laboratory = subject.controlled()
    pair = laboratory.issue()
    laboratory.write_certificate(pair)
    wanted = parse_certificate(pair.cert_pem).sha256_fingerprint
    await subject.until(
        lambda s: s.tls.sha256_fingerprint == wanted, "the new certificate is in use", RELOAD_SECONDS
    )
    await subject.execute(ask(AGENT, "x"))


@check("reload-certificate-refused", "a half-written pair or a foreign certificate is refused and visible")
async def bad_certificate(subject: Subject) -> None:
    """Write a pair that does not fit, and a certificate of another CA."""
    laboratory = subject.controlled()
    before = await subject.statusz()
    good = laboratory.issue()
    stranger = laboratory.issue(create_authority(now=datetime.now(UTC), duration=DAY))
    for pair, key in ((laboratory.issue(), laboratory.issue().key_pem), (stranger, None)):
        laboratory.write_certificate(pair, key)
        status = await subject.until(
            lambda status: status.tls.last_reload_error, "tls.lastReloadError is set", RELOAD_SECONDS
        )
        require(status.tls.serial_number == before.tls.serial_number, "the bad certificate is in use")
        await subject.execute(ask(AGENT, "x"))
        laboratory.write_certificate(good)
        status = await subject.until(
            lambda status: not status.tls.last_reload_error, "a good pair clears it", RELOAD_SECONDS
        )
        before = status


@check("drain", "SIGTERM: new calls are UNAVAILABLE, running ones end, the process exits 0")
async def drain(subject: Subject) -> None:
    """End the runtime while a call runs."""
    laboratory = subject.controlled()
    process = laboratory.process
    if process is None:
        raise ViolationError("the runtime is not running")
    running = asyncio.ensure_future(subject.execute(ask(AGENT, "wait")))
    await subject.until(lambda status: status.in_flight == 1, "the call is in flight")
    os.kill(process.process.pid, signal.SIGTERM)
    await subject.until(lambda status: status.draining, "/statusz says draining")
    code, _ = await subject.get("/health/ready")
    require(code == 503, f"/health/ready is {code} while draining")
    await subject.refused(subject.execute(ask(AGENT, "x"), timeout=5), CODE.UNAVAILABLE)
    await _release(laboratory.model, [running])
    running.result()
    code = await process.exit_code()
    require(code == 0, f"the exit code is {code}")


async def _refuses_to_start(laboratory: Laboratory, what: str) -> None:
    process = await laboratory.launch()
    try:
        code = await process.exit_code()
        output = await process.output()
    finally:
        if process.process.returncode is None:
            process.process.kill()
            await process.process.wait()
    require(code == 2, f"with {what} the exit code is {code}, not 2")
    require(output.strip(), f"with {what} nothing is logged")
    require(laboratory.key not in output, f"with {what} the log has the API key")


@check("start-refused", "bad configuration at the start is exit code 2 with the reason in the log")
async def start_refused(subject: Subject) -> None:
    """Start with no JSON, with a newer contract, and with a pair that does not fit."""
    laboratory = subject.controlled()
    await laboratory.stop()
    laboratory.write_config(b"{")
    await _refuses_to_start(laboratory, "a broken runtime.json")
    laboratory.write_config(b'{"contract": 999, "runtime": {"name": "x", "namespace": "y"}}')
    await _refuses_to_start(laboratory, "a newer contract")
    laboratory.write_config(laboratory.config)
    laboratory.write_certificate(laboratory.issue(), laboratory.issue().key_pem)
    await _refuses_to_start(laboratory, "a key of another certificate")


check.not_checkable(
    "container",
    "runs as any non-root user on a read-only root; the reason of exit code 2 is in /dev/termination-log",
    "only a container has them",
)
check.not_checkable(
    "redis", "a Redis password change re-authenticates; calls in flight are not touched", "needs a Redis"
)
