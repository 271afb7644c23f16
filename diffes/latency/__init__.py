"""How long stage plans take: timed, taken apart into halves of blocks, and kept as a table that budgets read."""
