"""The exception for errors that the user can fix."""


class UserError(Exception):
    """Invalid input. The message is one line: what is wrong, where, and what is expected.

    Commands print the message and exit with status 1. Other exceptions keep their traceback.
    """
