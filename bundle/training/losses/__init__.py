"""DINO and prototype losses with their centers."""
