"""Settings of `flashbulb localize`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from flashbulb.audit.settings.option import Option, Settings
from flashbulb.audit.settings.shared import (
    AUTO_BATCH_SIZE,
    AllowPickle,
    BatchSize,
    Device,
    OffloadName,
    Replacement,
    SampleSteps,
    Seed,
    SiteKind,
)

MOST_CONTROLS = 8
"""Clean prompts that the controls of each recovered image are taken from."""


class LocalizeSettings(Settings):
    """The findings of a finished audit to localize, and how neurons are selected and tested."""

    run: Annotated[
        Path,
        Field(description="Run directory of a finished audit."),
        Option("Inputs", is_argument=True, changes_result=False),
    ]
    prompts: Annotated[
        tuple[str, ...],
        Field(description="Localize only this prompt, given by text or id (repeat for more)."),
        Option("Inputs", "prompt", changes_result=False),
    ] = ()
    max_prompts: Annotated[
        int,
        Field(ge=1, description="Localize at most this many prompts, worst finding first."),
        Option("Inputs", changes_result=False),
    ] = 16
    kind: Annotated[
        SiteKind, Field(description="Kind of site to select neurons from; see `flashbulb sites`."), Option("Neurons")
    ] = "cross_v"
    share: Annotated[
        float, Field(gt=0, le=1, description="Share of that kind's neurons to replace, 0 to 1."), Option("Neurons")
    ] = 0.3
    minimal: Annotated[
        bool, Field(description="Bisect to find the fewest neurons that erase the image."), Option("Neurons")
    ] = False
    n_checks: Annotated[
        int,
        Field(ge=1, le=20, description="With --minimal: number of bisections, 1 to 20."),
        Option("Neurons", "checks"),
    ] = 5
    by: Annotated[
        Replacement,
        Field(
            description="What replaces a neuron's value: its value for the empty prompt, its mean over clean prompts, "
            "or zero."
        ),
        Option("Neurons"),
    ] = "unconditional"
    n_controls: Annotated[
        int,
        Field(ge=0, le=MOST_CONTROLS, description=f"Clean prompts to test each edit on, up to {MOST_CONTROLS}."),
        Option("Neurons", "controls"),
    ] = 2
    n_seeds: Annotated[
        int,
        Field(ge=1, le=64, description="Initial noises to average the attribution over, 1 to 64."),
        Option("Neurons", "seeds"),
    ] = 1
    n_points: Annotated[
        int,
        Field(ge=1, le=64, description="Points on the path of the attribution, 1 to 64."),
        Option("Neurons", "points"),
    ] = 4
    n_samples: Annotated[
        int, Field(ge=2, le=64, description="Images per prompt before and after, 2 to 64."), Option("Images", "samples")
    ] = 4
    sample_steps: SampleSteps = 6
    guidance_scale: Annotated[float, Field(gt=1, description="Guidance scale, above 1."), Option("Images")] = 3.0
    again: Annotated[bool, Field(description="Try to recover each image from the ablated model."), Option("Images")] = (
        True
    )
    show_prompts: Annotated[
        bool,
        Field(description="Write the text of prompts into localization.md."),
        Option("Output", changes_result=False),
    ] = False
    seed: Seed = 0
    batch_size: Annotated[
        BatchSize,
        Field(description=f"Latents per call of the denoiser, in the attribution; {AUTO_BATCH_SIZE}"),
        Option("Machine", changes_result=False),
    ] = 32
    allow_pickle: AllowPickle = False
    device: Device = "auto"
    offload: OffloadName = None
