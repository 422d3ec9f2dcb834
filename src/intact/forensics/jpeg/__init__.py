"""What JPEG leaves in pixels: blocks and their coefficients, the grid they vote for, the last compression."""
