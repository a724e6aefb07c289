"""The results of a pull: which of the given images came out of the model."""
