"""Errors that speak to the user."""


class BundleError(Exception):
    """A user's mistake or a broken input: the message says what failed, what was found and what to do."""


class SlideError(BundleError):
    """One slide is bad; the run goes on with the others."""
