"""Aixgo's own configuration files (YAML), as ``aixgo run -c agents.yaml`` takes them.

``reading`` turns a file into a checked :class:`~aixgo.config.models.Config` with the place of every key,
``translate`` turns that and the environment into a plan, ``runner`` runs the plan. What differs from Aixgo:

* every snake_case key takes effect, and so does its camelCase twin;
* an unknown key is an error; keys that begin with ``x-`` are left alone;
* keys without an effect are warned of: ``supervisor``, ``agents[].tools`` (they have no implementation);
* ``transport: grpc`` of MCP servers, Vertex AI and the stores firestore and postgres are errors; ours are
  ``transport: http``, ``store: redis`` with ``session.redis``, ``producer_config``, ``api_key_env`` in the
  ``config`` of model services, and the role ``custom`` with ``handler``.
"""
