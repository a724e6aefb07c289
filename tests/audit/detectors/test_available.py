"""Every detector is found under its own name and cites its paper."""

import re

from flashbulb.audit.detectors import ImageDetector, NeuronDetector, StepDetector, find_detectors

KINDS = {
    "text_conditional_noise": StepDetector,
    "attention_entropy": StepDetector,
    "mean_attention_entropy": StepDetector,
    "sharpness": StepDetector,
    "anisotropy": StepDetector,
    "one_step_agreement": StepDetector,
    "mean_one_step_agreement": StepDetector,
    "nemo": NeuronDetector,
    "picture_agreement": ImageDetector,
    "bright_ending": ImageDetector,
    "balanced_representation": ImageDetector,
}


def test_published_detectors_are_found():
    found = find_detectors()
    assert {name: type(found[name]) for name in KINDS if name in found} == KINDS


def test_each_detector_has_its_own_name_and_cites_a_paper():
    for name, detector in find_detectors().items():
        assert detector.name == name
        assert re.search(r"arXiv \d{4}\.\d{5}", detector.source) or name not in KINDS
