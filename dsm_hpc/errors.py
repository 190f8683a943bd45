"""Errors that a user can mend: the message says what was given, where, and what is allowed."""


class InputError(Exception):
    """Bad input or usage; the program exits with 2 and touches nothing on disk."""


class RunError(Exception):
    """The run failed for a reason outside the program; the program exits with 3."""
