"""The base of every error that a person can mend."""

from __future__ import annotations


class InputError(Exception):
    """What a person can mend: the message says in one line what was expected, what came, where and what to do.

    Commands show that line. Every other exception is a mistake in the code and keeps its traceback.
    """
