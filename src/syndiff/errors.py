"""The one error a user meets: what was found, what was expected, how to mend it."""


class SyndiffError(ValueError):
    """A mistake the user can mend.

    The message names the file or the setting, what was found, what was expected and how to mend it.
    The command line prints it without a traceback and exits with status 2.
    """
