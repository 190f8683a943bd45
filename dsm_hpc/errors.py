"""Errors that a user can mend: the message says what was given, where, and what is allowed."""

EXIT_DONE, EXIT_BAD_INPUT, EXIT_FAILED, EXIT_STOPPED = 0, 2, 3, 75
"""Exit codes of the program (DESIGN, «Verbs»)."""


class InputError(Exception):
    """Bad input or usage; the program exits with 2 and touches nothing on disk."""


class RunError(Exception):
    """The run failed for a reason outside the program; the program exits with 3."""


class Stopped(Exception):
    """All ranks have agreed to stop on request, with a checkpoint; the program exits with 75."""
