"""HTML pages that need nothing but themselves: sections of tables and figures, under one sentence of result.

What a page tells of, a search or a load test, its maker knows; nothing here does.
"""
