"""The conformance suite of session backends.

Those of this library and those of third parties run the same tests.

With pytest-asyncio in its mode ``auto``::

    class TestMyBackend(BackendConformance):
        @pytest.fixture(autouse=True)
        def store(self, tmp_path):
            self.directory = tmp_path

        async def open_backend(self):
            return MyBackend(self.directory)
"""

from __future__ import annotations

from aixgo.session.testing.common import BAD_NAMES
from aixgo.session.testing.history import HistoryConformance
from aixgo.session.testing.limits import LimitConformance
from aixgo.session.testing.sessions import SessionConformance
from aixgo.session.testing.turns import TurnConformance


class BackendConformance(SessionConformance, HistoryConformance, TurnConformance, LimitConformance):
    """Subclass it, implement ``open_backend``, and let pytest collect the subclass."""


__all__ = ["BAD_NAMES", "BackendConformance"]
