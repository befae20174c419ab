"""Killing a writer again and again, and comparing what is left with what was acknowledged."""

# ruff: noqa: S311 - chance that can be repeated

from __future__ import annotations

import copy
import json
import os
import random
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.page_cache import lose_power

from aixgo.session import FileBackend, Manager
from aixgo.session.inspect import verify

_ROOT = Path(__file__).parents[2]


@dataclass
class Session:
    """What one session has to be like."""

    id: str = ""
    messages: list[Any] = field(default_factory=list)
    checkpoints: dict[str, list[Any]] = field(default_factory=dict)
    number: int = 0

    def after(self, operation: dict[str, Any], result: Any) -> Session:
        """Return the session after an operation."""
        (kind, value), *_ = operation.items()
        new = copy.deepcopy(self)
        if kind == "create":
            return Session(id=value, number=self.number + 1)
        if kind == "append":
            new.messages += value
            new.number += len(value)
        elif kind == "checkpoint":
            new.checkpoints[result or "?"] = list(self.messages)
        elif kind == "restore":
            new.messages = list(self.checkpoints[value])
        elif kind == "delete":
            return Session(number=self.number)
        return new


@dataclass
class CrashRounds:
    """One store, and what it has to hold."""

    store: Path
    seed: int
    durability: str = "fsync"
    power: bool = False
    log_size: int = 64 * 1024
    names: tuple[str, ...] = ("ada", "bob", "eve", "mia", "zoe", "kim")
    sessions: dict[str, Session] = field(default_factory=dict)
    acknowledged: int = 0
    repairs: int = 0

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.store.mkdir(mode=0o700, exist_ok=True)
        self.sessions = {name: Session() for name in self.names}

    async def round(self) -> None:
        """Let a writer work for a while, kill it, and check everything."""
        in_doubt = self._write_and_kill()
        if self.power:
            lose_power(self.store, self._shadow, self.chance)
        await self._check(in_doubt)

    @property
    def _shadow(self) -> Path:
        return self.store.with_name(self.store.name + ".shadow")

    def _write_and_kill(self) -> dict[str, dict[str, Any]]:
        options = {
            "store": str(self.store),
            "shadow": str(self._shadow) if self.power else "",
            "durability": self.durability,
            "log_size": self.log_size,
            "seed": self.chance.random(),
            "sessions": {
                name: {
                    "id": session.id,
                    "checkpoints": list(session.checkpoints),
                    "number": session.number + 1000,  # what was in doubt is not used again
                }
                for name, session in self.sessions.items()
            },
        }
        for session in self.sessions.values():
            session.number += 1000
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.crash_writer", json.dumps(options)],
            stdout=subprocess.PIPE,
            cwd=_ROOT,
            env={**os.environ, "PYTHONPATH": str(_ROOT / "runtime_image")},
        )
        assert process.stdout is not None
        lines = []
        try:
            wanted = self.chance.randint(1, 300)
            while len(lines) < wanted and (line := process.stdout.readline()):
                lines.append(line)
            time.sleep(self.chance.random() * 0.003)  # any instant of an operation
        finally:
            process.kill()
            lines += process.stdout.read().splitlines(keepends=True)
            process.wait(20)
            process.stdout.close()
        assert process.returncode == -9, f"the writer ended by itself: {options}"
        return self._replay(lines)

    def _replay(self, lines: list[bytes]) -> dict[str, dict[str, Any]]:
        in_doubt: dict[str, dict[str, Any]] = {}
        for line in lines:
            if not line.endswith(b"\n"):
                continue
            event, name, value = json.loads(line)
            if event == "begin":
                in_doubt[name] = value
            else:
                self.sessions[name] = self.sessions[name].after(in_doubt.pop(name), value)
                self.acknowledged += 1
        return in_doubt

    async def _check(self, in_doubt: dict[str, dict[str, Any]]) -> None:
        backend = FileBackend(self.store)
        async with Manager(backend) as manager:
            listed = {session.id for session in await manager.list("assistant")}
            known = set()
            for name in self.names:
                expected = self.sessions[name]
                states = [expected]
                if name in in_doubt:
                    states.append(expected.after(in_doubt[name], None))
                found = await self._found(manager, states)
                wanted = [state for state in states if self._same(state, found)]
                assert wanted, f"seed {self.seed}: {name}: {found} is not one of {states}"
                if name in in_doubt and wanted[0] is not expected:
                    expected = wanted[0]
                    if "?" in expected.checkpoints:
                        (new,) = set(found.checkpoints) - set(self.sessions[name].checkpoints)
                        expected.checkpoints[new] = expected.checkpoints.pop("?")
                    self.sessions[name] = expected
                known.add(expected.id)
                await self._check_checkpoints(manager, expected)
            assert listed <= known, f"seed {self.seed}: foreign sessions {listed - known}"
            self.repairs += len(backend.repairs)
        async with Manager(FileBackend(self.store)) as manager:
            report = await verify(manager.backend)
            assert report.problems == [], f"seed {self.seed}: {report.problems}"
        for log in self.store.glob("*/*.jsonl"):
            for line in log.read_bytes().splitlines():
                json.loads(line)

    async def _found(self, manager: Manager, states: list[Session]) -> Session:
        listed = {session.id for session in await manager.list("assistant")}
        for state in reversed(states):
            if state.id in listed:
                session = await manager.get(state.id)
                messages = [json.loads(each.payload) for each in await session.get_messages()]
                assert session.message_count == len(messages)
                checkpoints: dict[str, list[Any]] = {each.id: [] for each in await session.list_checkpoints()}
                return Session(state.id, messages, checkpoints)
        return Session()

    @staticmethod
    def _same(state: Session, found: Session) -> bool:
        return (
            state.id == found.id
            and state.messages == found.messages
            and len(state.checkpoints) == len(found.checkpoints)
            and set(state.checkpoints) - {"?"} <= set(found.checkpoints)
        )

    async def _check_checkpoints(self, manager: Manager, expected: Session) -> None:
        if expected.checkpoints and self.chance.random() < 0.3:
            session = await manager.get(expected.id)
            wanted = self.chance.choice(list(expected.checkpoints))
            await session.restore(wanted)
            expected.messages = list(expected.checkpoints[wanted])
            messages = [json.loads(each.payload) for each in await session.get_messages()]
            assert messages == expected.messages
