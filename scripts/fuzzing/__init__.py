"""Every parser of foreign files against files that nobody has written."""
