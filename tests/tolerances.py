"""How far results may differ where exact is not promised; everything else is compared exactly."""

BATCH = 1e-4  # an activation recorded in batches of another size
ARITHMETIC = 1e-5  # the same float32 arithmetic in another order
STORED = 2e-3  # relative, an activation after its way through float16
PICTURE_LEVELS = 2  # of 255, a picture sampled in another batch
