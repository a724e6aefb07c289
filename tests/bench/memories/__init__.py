"""What recovery finds of graded and of plain memory: distinct images, precision, false recovery, probabilities."""
