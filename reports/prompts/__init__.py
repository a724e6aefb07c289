"""The results of one prompt of a run: how it is named, what is known of it, and its lines for a terminal."""
