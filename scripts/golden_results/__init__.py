"""Golden results: the demo cohort's whole chain at two commits of this repository, compared item by item."""
