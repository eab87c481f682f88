"""Running somebody's network safely: its state, its memory, its precision, and what fails."""
