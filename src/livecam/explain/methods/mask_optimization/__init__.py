"""Masks that are optimized to delete what a class rests on: EMP, I-GOS, AOP and SIGCAM."""
