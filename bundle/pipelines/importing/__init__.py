"""Features that other tools have made, as token files."""
