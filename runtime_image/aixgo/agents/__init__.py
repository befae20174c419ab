"""Agents: the protocol, and the roles that are built from configuration.

A role's libraries are imported when it is used.
"""

from aixgo.agents.protocol import Agent, FunctionAgent, agent

__all__ = ["Agent", "FunctionAgent", "agent"]
