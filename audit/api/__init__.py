"""Audit from Python and notebooks: one call, and a result that shows itself."""
