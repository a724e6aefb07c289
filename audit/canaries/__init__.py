"""Canaries: planted pairs that show what an audit of the user's own model can find, and what training leaked."""
