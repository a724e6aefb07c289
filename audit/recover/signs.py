"""Signs of a memory that need no training picture: how a model takes back a picture that it gave.

A memory comes back at every seed and without guidance. A texture, or a blend of memories, into which an ascent can be
driven does so as well; but noised in part, the model denoises it with more error, and the autoencoder, which learnt
from the same pictures, gives it back less well. How far a picture drifts when noised and denoised over several steps,
and how sharp it is, added nothing to these on planted models.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from audit.evidence import Picture, Pictures, seed_agreement, tile_distances


@dataclass(frozen=True, slots=True)
class Signs:
    """Signs of one prompt; distances are tile distances, in [0, 1].

    Args:
        agreement: share of the samples that show one picture.
        survival: log of the mean distance of unguided samples to their medoid, plus a hundredth.
        denoising_error: log of the mean squared error of the noise predicted for the noised medoid with the prompt,
            mean over timesteps; 0 is a model that predicts nothing.
        autoencoding_error: log of the root mean square difference between the medoid and what the autoencoder makes
            of it, pixels from -1 to 1.
    """

    agreement: float
    survival: float
    denoising_error: float
    autoencoding_error: float


def signs_of(
    pictures: Pictures, unguided: Pictures, centre: Picture, denoising_error: float, autoencoding_error: float
) -> Signs:
    """Signs from a prompt's pictures [seed, height, width, 3], their medoid, and how the model took it back.

    Args:
        unguided: sampled without guidance; may be `pictures` themselves.
    """
    return Signs(
        agreement=seed_agreement(pictures),
        survival=float(np.log(tile_distances(unguided, centre).mean() + 0.01)),
        denoising_error=denoising_error,
        autoencoding_error=autoencoding_error,
    )
