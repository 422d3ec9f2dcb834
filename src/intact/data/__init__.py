"""From images to tensors, and images made from nothing (phantoms)."""
