"""Subgraphs that run in another process: what client and server tell each other, and either side of it."""
