"""Search: which schedule loses least at a budget."""
