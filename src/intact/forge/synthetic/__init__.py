"""Makers of synthetic anomalies, for detectors that learn from them: batches of images, with labels."""
