"""Statistics of memorization: baselines, spike scores, calibration, flags, and how well a score separates."""
