"""What can be wrong with key material."""

from __future__ import annotations


class PKIError(Exception):
    """Key material cannot be used. The text names no value of it."""


class UnparsableError(PKIError):
    """Text that should be a certificate or a key is neither."""


class AuthorityExpiredError(PKIError):
    """The certificate authority cannot sign any more."""
