"""Audit a text-to-image diffusion model for memorized training images, neuron by neuron."""
