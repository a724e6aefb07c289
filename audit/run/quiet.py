"""Keep the libraries' advice out of the output: kernels that torchao lacks, torchvision for transformers."""

from __future__ import annotations

import logging
import os
import warnings


def quieten_libraries(verbosity: str = "error") -> None:
    """Set how much the libraries say when they are imported later; levels that the user chose are kept."""
    for library in ("torchao", "torch.utils._pytree") if verbosity == "error" else ():
        logging.getLogger(library).setLevel(logging.ERROR)
    os.environ.setdefault("DIFFUSERS_VERBOSITY", verbosity)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", verbosity)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def quieten_loading() -> None:
    """Keep the advice and the loading bars of diffusers and transformers out of the output; both are imported."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    for library in (diffusers_logging, transformers_logging):
        library.set_verbosity_error()
        library.disable_progress_bar()
    warnings.filterwarnings("ignore", message="`upcast_vae`", category=FutureWarning)  # of the pipelines' own call
