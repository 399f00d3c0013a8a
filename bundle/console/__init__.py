"""``slpd``: one command in front of ``python -m monai.bundle run`` and of the chains of such runs."""

__all__ = []  # what others use is the command itself
