"""The evidence annex of a finished audit, for a reader outside of the team, and signatures of its seal."""
