"""Forensics: what a file itself says about whether its image is genuine."""
