"""kNN, linear probe, attention MIL, Cox: features to predictions."""
