"""One file per explanation method, or family of them."""
