"""Evidence of tampering in pixels, headers and series."""
