"""From token or embedding files to a slide's features."""
