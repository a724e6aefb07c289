"""Prompts of one style and an outlier, for tier 0."""

from tests.audit.commands import ODD

COLOURS, PLACES = "red blue green white black grey pink".split(), "sea hill town lake".split()
SAME_STYLE = [f"a {colour} star over the {place}" for colour in COLOURS for place in PLACES]
REFERENCE = [text for i, text in enumerate(SAME_STYLE) if i % 3]
FRESH = SAME_STYLE[::3]  # of the reference's style, but not in the reference
CANDIDATES = [*FRESH[:7], ODD, *FRESH[7:9]]
