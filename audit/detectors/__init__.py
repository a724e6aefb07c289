"""Detectors: each turns what was recorded of a prompt into one number, higher meaning more suspicious."""
