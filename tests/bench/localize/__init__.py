"""Localization: neurons found by attribution, z-score, NeMo and at random, on models of known truth."""
