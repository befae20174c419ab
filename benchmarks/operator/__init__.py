"""The operator at scale, against a real API server, beside an operator that does nothing."""
