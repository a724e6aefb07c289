"""The error of canaries that cannot be planted or used."""


class CanaryError(ValueError):
    """Canaries cannot be planted, or a manifest cannot be used; the message says why and what to do."""
