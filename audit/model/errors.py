"""The error of a model that cannot be audited."""


class ModelError(ValueError):
    """The model cannot be audited; the message says why and what to do."""
