"""Reading a configuration file: parse, check, and say where every problem is."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, get_args

from pydantic import BaseModel, ValidationError
from pydantic.alias_generators import to_camel, to_snake

from aixgo.config.document import Mapping, Node, Sequence, parse_document, to_data
from aixgo.config.models import Config, YamlModel
from aixgo.config.problems import ConfigError, Place, Problem

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic_core import ErrorDetails

#: What a key of another program, or of this one's documentation, is told.
_HINTS = {
    "session_dir": "session.base_dir",
    "endpoint": "listen, or outputs[].addr",
    "timeout": "no key: a call may take 120 s",
}


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A configuration with the places of its keys."""

    #: How problems name it.
    name: str
    config: Config
    root: Node

    def problem(self, text: str, *path: str | int) -> Problem:
        """Return a problem at the key that ``path`` leads to, or at the last part of it that exists."""
        return Problem(_place(self.root, _spelled(self.root, path)), text)

    def spelled(self, *path: str | int) -> str:
        """Return the key that ``path`` leads to as the file writes it, such as ``agents[0].model``."""
        return _shown(_spelled(self.root, path))


def load_config(path: Path) -> ConfigFile:
    """Read a configuration file (Go: LoadConfig).

    Raises:
        ConfigError: it cannot be read, is no YAML, or is wrong in itself; all problems at once.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise ConfigError(str(path), [Problem(Place(), f"failed to read config: {reason}")]) from None
    return parse_config(content, str(path))


def parse_config(content: bytes, name: str = "agents.yaml") -> ConfigFile:
    """Return the configuration in the bytes of a file called ``name``.

    Raises:
        ConfigError: as :func:`load_config`.
    """
    root = parse_document(content, name)
    if not isinstance(root, Mapping):
        raise ConfigError(name, [Problem(root.place, "a configuration is a mapping with the key agents")])
    try:
        config = Config.model_validate(to_data(root))
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        places = [detail["loc"] for detail in details]
        # A list whose items are wrong counts as empty; saying so would only confuse.
        details = [
            detail
            for detail in details
            if detail["type"] != "too_short"
            or not any(place[: len(detail["loc"])] == detail["loc"] != place for place in places)
        ]
        raise ConfigError(name, [_problem(root, detail) for detail in details]) from None
    file = ConfigFile(name, config, root)
    if problems := _contradictions(file):
        raise ConfigError(name, problems)
    return file


def suggestion(word: str, known: list[str]) -> str:
    """Return ``; did you mean 'x'?`` if one of the known words is close, else ''."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


#: In YAML's words, and not in those of Python.
_KINDS: Final = dict.fromkeys(("tuple_type", "list_type"), "must be a list") | dict.fromkeys(
    ("dict_type", "model_type", "model_attributes_type", "dataclass_type"), "must be a mapping"
)


def _problem(root: Node, detail: ErrorDetails) -> Problem:
    path = _spelled(root, detail["loc"])
    place = _place(root, path)
    if detail["type"] == "extra_forbidden":
        key = str(path[-1])
        known = _fields(path[:-1])
        text = suggestion(key, [*known, *map(to_camel, known)])
        if not text and key in _HINTS:
            text = f"; use {_HINTS[key]}"
        return Problem(place, f"unknown key {_shown(path)!r}{text}")
    if detail["type"] == "missing":
        return Problem(place, f"{_shown(path)} is missing")
    message = _KINDS.get(detail["type"]) or detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "string_pattern_mismatch" and path[-1] == "name":
        message = "begins with a small letter and has only small letters, digits, - and _ (at most 64)"
    return Problem(place, f"{_shown(path)}: {message}")


def _shown(path: tuple[str | int, ...]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part[:60]}" if text else part[:60]
    return text


def _spelled(root: Node, path: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """Return the path with every key as the file spells it."""
    node: Node | None = root
    spelled: list[str | int] = []
    for part in path:
        if isinstance(node, Mapping) and isinstance(part, str):
            spellings = (part, to_snake(part), to_camel(part), "type" if part == "role" else part)
            part = next((spelling for spelling in spellings if spelling in node.items), to_snake(part))
            node = node.items.get(part)
        elif isinstance(node, Sequence) and isinstance(part, int) and part < len(node.items):
            node = node.items[part]
        else:
            node = None
        spelled.append(part)
    return tuple(spelled)


def _place(root: Node, path: tuple[str | int, ...]) -> Place:
    """Return the place of a key, or of the nearest one around it that is in the file."""
    node: Node = root
    place = root.place
    for part in path:
        if isinstance(node, Mapping) and isinstance(part, str):
            if part not in node.items:
                return place
            place, node = node.keys[part], node.items[part]
        elif isinstance(node, Sequence) and isinstance(part, int) and part < len(node.items):
            node = node.items[part]
            place = node.place
        else:
            return place
    return place


def _fields(path: tuple[str | int, ...]) -> list[str]:
    """Return the keys that the mapping at ``path`` may have."""
    model: type[BaseModel] | None = Config
    for part in path:
        if isinstance(part, int) or model is None:
            continue
        field = model.model_fields.get(to_snake(part))
        model = _model_in(field.annotation) if field is not None else None
    if model is None:
        return []
    return [*model.model_fields, *(model.synonyms if issubclass(model, YamlModel) else ())]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model in an annotation such as ``tuple[Model, ...]`` or ``Model | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)


def _contradictions(file: ConfigFile) -> list[Problem]:
    """Return what no single key can show: names that are there twice, or that nothing has."""
    config, problems = file.config, []
    named: dict[str, list[str]] = {
        "agents": [agent.name for agent in config.agents],
        "mcp_servers": [server.name for server in config.mcp_servers],
        "model_services": [service.name for service in config.model_services],
    }
    for key, names in named.items():
        for index, name in enumerate(names):
            if name in names[:index]:
                text = f"{key}[{index}].name: {name[:60]!r} is there twice"
                problems.append(file.problem(text, key, index, "name"))
    remote = {output.target for agent in config.agents for output in agent.outputs if output.addr}
    references = {"depends_on": [*named["agents"], *remote], "mcp_servers": named["mcp_servers"]}
    for index, agent in enumerate(config.agents):
        for key, known in references.items():
            for position, name in enumerate(getattr(agent, key)):
                if name not in known:
                    what = "agent" if key == "depends_on" else "MCP server"
                    text = f"agents[{index}].{key}: there is no {what} {name[:60]!r}{suggestion(name, known)}"
                    problems.append(file.problem(text, "agents", index, key, position))
        if (agent.role == "custom") != bool(agent.handler):
            text = "role custom needs a handler" if agent.role == "custom" else "handler is for role custom"
            problems.append(file.problem(f"agents[{index}]: {text}", "agents", index, "handler"))
    return problems
