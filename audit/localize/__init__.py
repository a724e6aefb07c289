"""Localize a memory in neurons: attribute the response, select neurons, and test their causal effect."""
