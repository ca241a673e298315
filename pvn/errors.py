"""The one exception that a person, not a programmer, is meant to read."""


class UserError(Exception):
    """Bad input. The message is one line: what was wrong, where, what would be right.

    Commands print it and exit with status 1; everything else keeps its traceback.
    """
