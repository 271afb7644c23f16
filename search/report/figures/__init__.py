"""The report's figures: each takes plain numbers and gives a PNG."""
