"""What leaked and what to do: the images that came back, the next steps, and the training images to remove."""
