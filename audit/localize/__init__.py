"""Which neurons recall a memory: attribution, a choice of levers, and their causal test."""
