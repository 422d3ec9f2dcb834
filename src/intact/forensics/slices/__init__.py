"""Slices of volumes and frames of films: whether they follow one another, and whether they come again."""
