"""Tolerances of comparisons that are not exact; everything else is compared exactly."""

BATCH = 1e-4  # activations recorded in batches of another size
ARITHMETIC = 1e-5  # the same float32 arithmetic in another order
STORED = 2e-3  # relative, activations stored as float16
IMAGE_LEVELS = 2  # of 255, images sampled in another batch
