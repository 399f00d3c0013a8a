"""A slide's tokens on one raster; it as figures, GeoJSON, OME-TIFF, NIfTI."""
