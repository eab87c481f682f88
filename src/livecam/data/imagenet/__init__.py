"""ILSVRC2012 in every layout that it comes in."""
