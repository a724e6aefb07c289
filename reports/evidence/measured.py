"""Error rates that were measured on models with known memories, with where; none of them is of the audited model.

Their figures stand in the documents that they name; a test compares them.
"""

ERRORS_WITH_TRAINING_IMAGES = (
    "With training images, mirrored, shifted and cropped copies are found, but about a quarter of the crops to 60 % of "
    "the area are missed. Other rotations, changed colours and paraphrases go unnoticed without a learned descriptor "
    "(README, What it does not prove).",
)
ERRORS_WITHOUT = (
    "Without training images, confirmed was right in 0.972, 1.000 and 0.934 of the cases on three planted models, and "
    "never given on a fourth (docs/recovery.md, Audits without training images).",
    "On these four models 2.5 %, 3.1 %, 9.0 % and 0 of the controls gave an image: descriptions that leave little to "
    "chance look like memory (docs/recovery.md).",
)
