"""Where messages go that agents send to topics and to each other."""

from __future__ import annotations

from aixgo.runtime.routing import NO_ROUTING, Routing


def test_topics_reach_each_of_their_readers() -> None:
    routing = Routing({"a": [], "b": ["t"], "c": ["t"]})
    assert routing.destinations("t", "a") == (routing.channel("b", "t"), routing.channel("c", "t"))
    assert len({"t", *routing.destinations("t")}) == 3, "readers do not compete"
    assert routing.is_topic("t")
    assert not routing.is_topic("b")


def test_agents_that_name_each_other() -> None:
    routing = Routing({"a": [], "b": ["a"], "c": ["b"]})
    assert routing.destinations("b", "a") == (routing.channel("b", "a"),)
    assert routing.destinations("c", "b") == (routing.channel("c", "b"),)
    assert routing.channel("c", "b") not in routing.destinations("b", "a"), "c reads from b, not what b reads"


def test_an_agent_that_publishes_under_its_own_name_or_reads_its_own() -> None:
    routing = Routing({"a": [], "b": ["a"], "c": ["a"], "d": ["d"]})
    assert len(routing.destinations("a", "a")) == 2
    assert routing.destinations("d", "a") == (routing.channel("d", "d"),)


def test_messages_from_elsewhere_come_in_at_one_input() -> None:
    routing = Routing({"a": [], "b": ["a", "outside"]})
    assert routing.destinations("b") == (routing.channel("b", "outside"),)
    assert routing.destinations("b", "stranger") == (routing.channel("b", "outside"),)
    assert routing.destinations("b", "a") == (routing.channel("b", "a"),)
    assert Routing({"a": [], "b": ["a"]}).destinations("b") == ("a -> b",)


def test_what_nobody_declared_is_a_channel_of_its_name() -> None:
    assert NO_ROUTING.destinations("x", "y") == ("x",)
    assert NO_ROUTING.channel("x", "y") == "y"
    assert Routing({"a": []}).destinations("a", "b") == ("a",)


def test_ends_that_match_nothing_are_named() -> None:
    routing = Routing({"b": ["t", "lonely"]}, {"a": ["t", "nowhere"]})
    assert routing.unread() == [("a", "nowhere")]
    assert routing.unfed() == [("b", "lonely")]
    assert routing.inboxes("b") == ("t -> b", "lonely -> b")
