"""report.html: one self-contained page of a finished audit."""
