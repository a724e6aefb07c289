"""Keep libraries from talking into the log of a command."""

from __future__ import annotations

import logging


def silence_imports() -> None:
    """Hide what libraries warn of while they are imported, such as kernels that they lack; call it before."""
    for library in ("torchao", "torch.utils._pytree"):
        logging.getLogger(library).setLevel(logging.ERROR)
