"""The base of every error that a user can cause and mend."""


class FeropsError(Exception):
    """A mistake in input, parameters or surroundings: one line that names the fact and the way out.

    The command line and the stages print it without a traceback and exit with status 1.
    """
