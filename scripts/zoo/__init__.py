"""From a trained model to a folder and a zip that others can download, check and load."""
