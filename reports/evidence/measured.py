"""Error rates that were measured on models with known memories, with where; none of them is of the audited model.

Their figures stand in the documents that they name; a test compares them.
"""

ERRORS_WITH_TRAINING_IMAGES = (
    "With training images, mirrored, shifted and cropped copies are found, but about a quarter of the crops to 60 % of "
    "the area are missed. Other rotations, changed colours and paraphrases go unnoticed without a learned descriptor "
    "(docs/reading-the-report.md, What it does not prove).",
)
ERRORS_WITHOUT = (
    "Without training images, 69 of 69, 53 of 53, 56 of 56, 1 of 1 and 57 of 57 images confirmed on planted models "
    "were training images. On the fourth, whose memories are weak, seven of eleven memorized images had a verdict "
    "(docs/recovery.md, Audits without training images).",
    "On these models 0 of 79, 0 of 65, 1 of 67, 0 of 34 and 2 of 62 controls gave an image, and two of the three are "
    "training images (docs/recovery.md).",
    "Where an image comes at few seeds, audits without training images find a quarter of what audits with them find "
    "(docs/accuracy.md, Recovery).",
)
