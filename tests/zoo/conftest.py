"""These run as the Model Zoo runs them, in tests/packaging/test_zoo_unit_tests.py; pytest leaves them alone."""

collect_ignore_glob = ["test_*.py"]
