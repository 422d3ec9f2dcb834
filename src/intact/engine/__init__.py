"""Engines: run a step over batches of items; they know nothing of images."""
