"""The base of every error that a person can mend."""

from __future__ import annotations


class InputError(Exception):
    """A mistake that a person can mend: the message is one line that says what was expected, got, where, what to do.

    Commands show that line. Every other exception is a mistake in the code and keeps its traceback.
    """
