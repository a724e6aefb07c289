"""Recovery: whole audits, and captions known in part or of weak memories, held against the truth."""
