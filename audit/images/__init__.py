"""Compare images, find the part that every seed repeats, read and write files of them, and turn them into latents."""
