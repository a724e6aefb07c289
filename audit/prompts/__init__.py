"""Read prompt files and label files in their usual formats."""
