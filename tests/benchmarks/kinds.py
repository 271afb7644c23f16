"""What performance_table.py reads, by the names of its options."""

KINDS = ("results", "memory", "exporting", "images", "serving", "gaps", "decoding", "loadtest", "open-loop", "fates")
