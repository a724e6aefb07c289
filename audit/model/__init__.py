"""Load a diffusion model, evaluate it and sample from it."""
