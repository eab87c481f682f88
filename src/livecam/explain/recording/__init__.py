"""One recorded pass of a network: its layers, what is kept of them, and their gradients."""
