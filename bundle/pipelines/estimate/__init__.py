"""What a run will take on this machine, before it starts."""
