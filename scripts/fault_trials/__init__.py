"""Faults, tried on every command on a small cohort: what is said, and what the same command makes of it afterwards."""
