"""Inputs of the field: models, prompts, images and runs that a product meets, and what has to come of each."""
