"""Ids are random, whoever makes them."""

from __future__ import annotations

import os
import uuid
from concurrent.futures import ThreadPoolExecutor

from aixgo.identifiers import new_id


def test_ids_are_uuids_and_never_the_same() -> None:
    with ThreadPoolExecutor(4) as pool:
        made = [each for ids in pool.map(lambda _: [new_id() for _ in range(1000)], range(4)) for each in ids]
    assert len(set(made)) == len(made)
    for text in made[:200]:
        parsed = uuid.UUID(text)
        assert (str(parsed), parsed.version, parsed.variant) == (text, 4, uuid.RFC_4122)


def test_a_forked_process_makes_its_own() -> None:
    new_id()  # there is a stock of random digits now
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, new_id().encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    theirs = os.read(reading, 36).decode()
    os.close(reading)
    assert uuid.UUID(theirs).version == 4
    assert theirs not in {new_id() for _ in range(200)}
