"""Does SLPD learn? Its arms against DINO alone, on planted cohorts whose truth is known."""
