"""What is wrong with a folder of slides and its tables, before the long run."""
