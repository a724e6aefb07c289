"""What the stages write at the end: tables, run.json, images, and the state that they are made of."""
