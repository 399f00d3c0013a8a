"""Several machines, played by agents of torchrun on this one."""
