"""Views: token crops, image crops."""
