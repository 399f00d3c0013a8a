"""Does SLPD learn? Its methods against DINO alone, on planted cohorts whose truth is known."""
