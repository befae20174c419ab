"""The only part of the operator that talks to the Kubernetes API server."""
