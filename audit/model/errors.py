"""Errors of models that cannot be audited, or whose audit could not be trusted."""


class ModelError(ValueError):
    """The model cannot be audited; the message says why and what to do."""


class UntrustedModel(RuntimeError):  # noqa: N818
    """The model does not run as it was trained, so nothing that it computes can be trusted."""
