"""From another tool's features to maps and search, on slides of one's own: time and memory of every step."""
