"""Gradient ascent on neurons: the objective, the trust region, and the words that may move."""
