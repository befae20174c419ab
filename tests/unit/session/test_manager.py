"""What a manager is made of."""

from __future__ import annotations

from typing import Any

import pytest

from aixgo.session import FileBackend, Manager


@pytest.mark.parametrize(
    ("backend", "what"),
    [
        (None, "an object of NoneType"),
        ("~/.aixgo/sessions", "an object of str"),
        (object(), "an object of object"),
        (FileBackend, "FileBackend"),
    ],
)
def test_what_is_no_backend_is_refused(backend: Any, what: str) -> None:
    with pytest.raises(TypeError, match=rf"^backend must be a session backend, .*, not {what}$"):
        Manager(backend)
