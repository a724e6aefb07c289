"""Turn the neurons that spiked for a prompt into what an ascent climbs."""

from __future__ import annotations

import numpy as np

from flashbulb.audit.recover.ladder import Target
from flashbulb.audit.statistics.scores import GroupScores
from flashbulb.audit.statistics.spikes import PromptNeurons


def target_of(prompt: str, group: GroupScores, neurons: PromptNeurons) -> Target:
    """Return the prompt and the neurons to climb: indices into the group's z-scores, and their signs."""
    indices = group.columns.indices_of((spike.column, spike.neuron) for spike in neurons.climbed)
    return Target(prompt, tuple(indices), tuple(float(np.sign(spike.z)) or 1.0 for spike in neurons.climbed))
