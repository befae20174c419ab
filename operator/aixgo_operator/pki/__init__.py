"""Certificates: the authority of an installation, leaves, their inspection, when to renew. No I/O."""
