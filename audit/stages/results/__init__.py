"""What the stages write at the end: tables, run.json, pictures, and the state that they are made of."""
