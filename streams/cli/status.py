"""Exit statuses, and the one line that says what went wrong."""

import sys
from typing import Final

APPROVED: Final = 0
DIVERGED: Final = 1
"""An audit found a difference."""
BAD: Final = 2
"""Bad input, no broker, or a command that could not run."""
REJECTED: Final = 3
"""The gate said no to an intent, or to a command; or a command was without effect."""
SILENT: Final = 4
"""No answer in time, or one too late to act on."""
INTERRUPTED: Final = 130

_WORST_FIRST: Final = (SILENT, BAD, REJECTED, APPROVED)


def worst(statuses: set[int]) -> int:
    """Return the status that stands for several intents: first of all what may still be decided."""
    return next((status for status in _WORST_FIRST if status in statuses), APPROVED)


def complain(*lines: str, status: int = BAD) -> int:
    """Write each line to standard error and return `status`."""
    for line in lines:
        sys.stderr.write(f"seawall: {' '.join(line.split())}\n")
    return status
