"""Lists in pages, also when the API server forgets their state in between (410)."""

from __future__ import annotations

from typing import Any

import pytest

from aixgo_operator.kube.client import ApiServerClient
from aixgo_operator.kube.errors import ApiError
from aixgo_operator.kube.resources import PODS

EXPIRED = ApiError(410, "Expired", "The provided continue parameter is too old")


class Paging(ApiServerClient):
    """Answers with the given pages (or failures), one after the other."""

    def __init__(self, *answers: Any) -> None:
        super().__init__(None)  # type: ignore[arg-type]
        self.answers = list(answers)
        self.asked: list[str | None] = []

    async def request(self, method: str, path: str, **options: Any) -> Any:
        self.asked.append((options.get("params") or {}).get("continue"))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def page(*names: str, token: str = "") -> dict[str, Any]:
    return {"items": [{"metadata": {"name": name}} for name in names], "metadata": {"continue": token}}


async def test_a_list_whose_state_is_forgotten_begins_again() -> None:
    """O20: 410 between two pages."""
    client = Paging(page("a", token="1"), EXPIRED, page("a", "b", token="2"), page("c"))
    found = await client.list_objects(PODS)
    assert [item["metadata"]["name"] for item in found] == ["a", "b", "c"]
    assert client.asked == [None, "1", None, "2"]
    assert found[0]["kind"] == "Pod"


async def test_a_410_of_the_first_page_is_an_error() -> None:
    with pytest.raises(ApiError, match="410"):
        await Paging(EXPIRED).list_objects(PODS)


async def test_pages_that_begin_again_say_so() -> None:
    client = Paging(page("a", token="1"), EXPIRED, page("b"))
    names = [
        None if each is None else [item["metadata"]["name"] for item in each]
        async for each in client.pages(PODS)
    ]
    assert names == [["a"], None, ["b"]]
