"""What SLPD is worth on tissue, beside its rivals."""
