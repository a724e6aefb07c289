"""Keep the libraries' advice out of the output: kernels that torchao lacks, torchvision for transformers."""

from __future__ import annotations

import logging
import os


def quieten_libraries(verbosity: str = "error") -> None:
    """Set how much the libraries say when they are imported later; levels that the user chose are kept."""
    for library in ("torchao", "torch.utils._pytree") if verbosity == "error" else ():
        logging.getLogger(library).setLevel(logging.ERROR)
    os.environ.setdefault("DIFFUSERS_VERBOSITY", verbosity)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", verbosity)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
