"""Figures as PNG files, drawn without a display."""
