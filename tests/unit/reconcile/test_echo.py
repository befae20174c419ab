"""Changes that a watch has to tell, too."""

from __future__ import annotations

from typing import Any

from aixgo_operator.reconcile.echo import Echo


def _child(namespace: str = "team", kind: str = "Secret", **labels: str) -> dict[str, Any]:
    chosen = labels or {"app.kubernetes.io/managed-by": "aixgo-operator"}
    return {"kind": kind, "metadata": {"namespace": namespace, "name": "x", "labels": chosen}}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_change_without_an_event_is_told_after_a_while() -> None:
    clock = Clock()
    echo = Echo((), clock)
    echo.expect(_child())
    clock.now = 5.0
    echo.expect(_child("other"))
    assert echo.silent(5.0) == []
    clock.now = 6.0
    assert echo.silent(5.0) == ["Secret"]
    echo.heard("ConfigMap", "team")
    assert echo.silent(5.0) == ["Secret"]
    echo.heard("Secret", "anything")
    assert echo.silent(0.0) == []


def test_each_namespace_has_its_own_watch() -> None:
    clock = Clock()
    echo = Echo(("a", "b"), clock)
    for namespace in ("a", "b", "not-watched"):
        echo.expect(_child(namespace))
    echo.heard("Secret", "a")
    clock.now = 1.0
    assert echo.silent(0.5) == ["Secret in b"]


def test_what_no_watch_selects_is_not_expected() -> None:
    clock = Clock()
    echo = Echo(("a",), clock)
    echo.expect(_child("a", app="else"))
    echo.expect({"kind": "Namespace", "metadata": {"name": "a"}})
    clock.now = 1.0
    assert echo.silent(0.5) == []
    echo.expect({"kind": "Agent", "metadata": {"name": "x", "namespace": "a"}})
    clock.now = 2.0
    assert echo.silent(0.5) == ["Agent in a"]
