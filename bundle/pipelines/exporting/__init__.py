"""Embeddings in the layouts of other tools."""
