"""SLPD: slide-level representation learning for whole-slide images, as a MONAI bundle."""

__version__ = "0.1.0"
