"""What methods for copied regions share: pairs that look alike, and whether their noise repeats."""
