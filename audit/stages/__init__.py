"""The stages of an audit and the other commands: they connect settings and run directories to the kernels."""
