"""Benchmarks: figures that README and docs quote, measured by `make bench`; never part of the tests."""
