"""Read the texts of prompt files and label files, whatever their format, or say in one line why they cannot be read."""
