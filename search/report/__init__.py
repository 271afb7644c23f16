"""What a search leaves for people: its files (`findings`), and later, from these alone, its page (`page`).

The page's modules are not imported here: a search that writes no page needs neither plots nor templates.
"""

from search.report.findings import Findings, write_report, write_table

__all__ = ["Findings", "write_report", "write_table"]
