"""Whether SLPD is worth it on somebody's slides: the published configs, one after the other, to one page."""

from .comparing import Comparing

__all__ = ["Comparing"]
