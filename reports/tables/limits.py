"""The limits that decide verdicts and severities: an audit judges by them, and its readers check that it did."""

FALSE_DISCOVERY_RATE = 0.1
"""Flagged prompts with a q-value up to this have medium severity even if no image comes back."""

CONFIRMED_AT, LIKELY_AT = 0.9, 0.5
"""Probabilities from which an outcome counts as confirmed and as likely."""

PART_AT = 0.96
"""Probability from which the fixed part of samples counts as likely, without a training image that has it."""

REPLICATION_DISTANCE = 0.2
"""Largest distance at which a sample replicates a training image; a copy is never exact, because decoding blurs."""

VERBATIM, TEMPLATE = "verbatim", "template"
"""Kinds of copy: the complete training image, or its fixed part."""
