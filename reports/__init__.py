"""Readers and renderers of a finished audit: tables, verdict, summary and images, without the model."""
