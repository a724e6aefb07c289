"""The terms of the page, explained at its end; every term that the page uses as a label links there."""

from markupsafe import Markup, escape

GLOSSARY = {
    "finding": "A flagged prompt, or an image that came back without one. Findings are numbered, worst first.",
    "fingerprint": "Names a finding in every run and for every checkpoint; waivers and `flashbulb show` take it.",
    "standing": "What a finding means for the verdict: it breaks the policy, is within it, waived, or in the baseline.",
    "severity": "High: flagged, and an image came back. Medium: flagged with a q-value of at most 0.1. Low: flagged.",
    "confirmed": "A complete training image came back. Without training images: the confidence is at least 0.9.",
    "likely": "Only a part of a training image came back, the confidence is at least 0.5, or the image comes back at "
    "some seeds or with other prompts, which images of controls do not do.",
    "not shown": "No strategy that was tried brought an image back; others may still do so.",
    "p": "The share of plain samples of a prompt that show the image, each from another seed.",
    "similarity": "1 minus the largest distance between tiles of two images: 1 is an exact copy, 0.8 and more a copy.",
    "confidence": "Calibrated probability that samples show a memorized image, judged from the samples alone.",
    "kind of copy": "Verbatim: the complete training image. Template: the part of it that is the same for every seed.",
    "near-duplicates": "Other training images that would count as a copy of this one, in the same framing.",
    "spike score": "How far a prompt's neurons deviate from the reference; about 1 of 100 clean prompts is above 1.",
    "p-value": "Expected share of prompts that are not memorized but score at least as high.",
    "q-value": "False-discovery rate if every prompt with a p-value this low is flagged.",
    "flagged": "The p-value is at most the stated false-positive rate.",
    "strategy": "What brought the image back, such as plain sampling or gradient ascent on the neurons that spiked.",
    "seed agreement": "Share of the images of an attempt in the largest group that shows one image.",
    "fixed share": "Share of the image's area that is the same for every seed.",
    "comes back": "The image appears at other seeds of the prompt, or with prompts that describe something else.",
    "denoiser evaluations": "Cost: one evaluation is the denoiser once on one latent.",
    "extractable": "The way this audit tries a prompt brings its training image back.",
    "false recoveries": "Images from controls: unflagged prompts, recovered in the same way as far as that gave an "
    "image of a flagged prompt. They should give none.",
    "text-only AUC": "How well the text alone tells flagged from other prompts: 0.5 not at all, 1 completely.",
    "neurons": "Units of the recorded layers. Those that spike are evidence of recall, not the place of storage.",
    "site": "A layer of the model whose neurons are recorded.",
}
"""What each term means, in the order of the page."""

_SAME = {
    "prompts flagged": "flagged",
    "extractable prompts at most": "extractable",
    "extractable prompts missed at most": "extractable",
    "recovery": "confirmed",
    "distinct memorized images confirmed": "confirmed",
    "top neurons": "neurons",
    "activation at each site": "site",
}
"""Labels that use a term in other words."""


_NAMES = {term.lower(): term for term in GLOSSARY}


def term_anchor(term: str) -> str:
    """Return the id of a term in the glossary."""
    return "term-" + term.replace(" ", "-")


def link_term(label: str) -> Markup:
    """Return a label as a link to its explanation; escaped as it is if the glossary has none."""
    key = label.lower().replace("_", " ")
    term = _NAMES.get(_SAME.get(key, key))
    if term is None:
        return escape(label)
    return Markup('<a class="term" href="#{}">{}</a>').format(term_anchor(term), label)
