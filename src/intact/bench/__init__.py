"""Benchmarks of whole methods: what they find, what that costs, and which differences are real."""
