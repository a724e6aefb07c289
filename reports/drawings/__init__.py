"""The vector figures of the page, one file a figure."""
