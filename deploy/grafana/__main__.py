"""`python -m deploy.grafana` writes diffes.json."""

from deploy.grafana.dashboard import FILE, text

FILE.write_text(text())
