"""Sessions as JSON lines in a directory."""
