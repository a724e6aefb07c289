"""Readers and renderers of a finished audit: tables, verdict, summary and pictures, without the model."""
