"""What an evaluation found, as a page, figures and files."""
