"""The two ways in which a command fails; `main` turns each into one line and an exit code."""


class CommandError(Exception):
    """The command was understood but could not be carried out: exit code 1."""


class UsageError(Exception):
    """The command line asks for something that makes no sense: exit code 2."""
