"""Every detector is found under its own name, cites its paper and can be told apart from the others."""

import re

from audit.detectors import NeuronDetector, PictureDetector, StepDetector, available

KINDS = {
    "text_conditional_noise": StepDetector,
    "attention_entropy": StepDetector,
    "sharpness": StepDetector,
    "anisotropy": StepDetector,
    "one_step_agreement": StepDetector,
    "nemo": NeuronDetector,
    "picture_agreement": PictureDetector,
    "bright_ending": PictureDetector,
    "balanced_representation": PictureDetector,
}


def test_published_detectors_are_found():
    found = available()
    assert {name: type(found[name]) for name in KINDS if name in found} == KINDS


def test_each_has_its_modules_name_and_cites_a_paper():
    for name, detector in available().items():
        assert detector.name == name
        assert re.search(r"arXiv \d{4}\.\d{5}", detector.source) or name not in KINDS
