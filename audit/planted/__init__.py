"""The embedded model with planted memorization: recipe, captions, weights and measured ground truth."""
