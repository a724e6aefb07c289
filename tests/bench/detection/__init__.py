"""Detection: every score and detector against the measured truth of planted models."""
