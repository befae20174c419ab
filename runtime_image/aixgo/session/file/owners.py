"""Whose sessions are whose, so that a user's session is found without looking at every session."""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Session ids of one user: nearly always one.
_Ids = tuple[str, ...]


class Owners:
    """Filled when it is asked for the first time; about 200 bytes a session. Says at least what there is."""

    def __init__(self) -> None:
        self._agents: dict[str, dict[bytes, _Ids]] = {}
        #: Agents whose sessions are being told. What is made in the meantime is not overlooked.
        self._learning: dict[str, dict[bytes, _Ids]] = {}
        self._lock = threading.Lock()
        self._lessons = threading.Lock()

    def knows(self, agent_name: str) -> bool:
        """Say whether the sessions of an agent were told."""
        return agent_name in self._agents

    def learn(self, agent_name: str, owned: Iterable[tuple[str, str]]) -> None:
        """Take note of all sessions of an agent: pairs of a user and a session id."""
        with self._lessons:
            if agent_name in self._agents:
                return
            users = self._learning[agent_name] = {}
            for user_id, session_id in owned:
                with self._lock:
                    _add(users, user_id, session_id)
            self._agents[agent_name] = users
            del self._learning[agent_name]

    def add(self, agent_name: str, user_id: str, session_id: str) -> None:
        """Take note of a new session."""
        if user_id:
            with self._lock:
                for agents in (self._learning, self._agents):
                    if agent_name in agents:
                        _add(agents[agent_name], user_id, session_id)

    def remove(self, agent_name: str, user_id: str, session_id: str) -> None:
        """Forget a session."""
        users = self._agents.get(agent_name)
        key = _key(user_id)
        with self._lock:
            if users is not None and key in users:
                users[key] = tuple(each for each in users[key] if each != session_id)
                if not users[key]:
                    del users[key]

    def sessions(self, agent_name: str, user_id: str) -> _Ids:
        """Return the sessions of a user, and perhaps some that are gone."""
        return self._agents.get(agent_name, {}).get(_key(user_id), ())

    def forget(self) -> None:
        """Forget everything: somebody else may have written."""
        self._agents.clear()


def _add(users: dict[bytes, _Ids], user_id: str, session_id: str) -> None:
    key = _key(user_id)
    known = users.get(key, ())
    if session_id not in known:
        users[key] = (*known, session_id)


def _key(user_id: str) -> bytes:
    # Much shorter than a user id may be; what is found is checked anyway.
    return hashlib.blake2b(user_id.encode(), digest_size=8).digest()
