"""Resolved inputs to Kubernetes manifests: plain dictionaries, no I/O."""
