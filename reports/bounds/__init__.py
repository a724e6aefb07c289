"""Rates with exact intervals, and what they bound."""
