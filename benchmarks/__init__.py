"""Benchmarks: scripts that print a table and write JSON. Start one with ``tinygrad-notes bench NAME``."""
