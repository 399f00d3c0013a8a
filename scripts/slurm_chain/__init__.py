"""``slpd slurm`` tried on a real Slurm of this machine."""
