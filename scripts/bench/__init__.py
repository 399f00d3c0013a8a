"""Our parts beside a slow restatement of the published way, in one run."""
