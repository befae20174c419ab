"""The process in the pod: ``aixgo serve``."""
