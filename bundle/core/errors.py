"""Errors that speak to the user."""


class BundleError(Exception):
    """A user's mistake or a broken input: the message says what failed, what was found and what to do."""


class SettingError(BundleError, ValueError):
    """A setting outside its range. Also a ``ValueError``, for callers who build the parts by themselves."""


class SlideError(BundleError):
    """One slide is bad; the run goes on with the others."""
