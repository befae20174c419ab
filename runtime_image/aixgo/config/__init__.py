"""Configuration files of Aixgo (YAML)."""
