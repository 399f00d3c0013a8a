"""One file a layout: which files are of it, and what lies in them."""
