"""Models with planted memorization: their recipe, and the embedded model with its measured ground truth."""
