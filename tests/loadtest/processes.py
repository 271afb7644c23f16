"""Processes that should have ended."""

from contextlib import suppress

import psutil


def runs(process: psutil.Process) -> bool:
    """What has ended may wait for its parent to ask how."""
    with suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False
