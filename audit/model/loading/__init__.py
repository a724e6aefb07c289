"""Load the pipeline of a model from its folder or the hub, with nothing run or read that is not expected there."""
