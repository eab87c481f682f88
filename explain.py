"""Explain trained classifiers: ``uv run explain.py --help``."""

from livecam.cli import explain

if __name__ == "__main__":
    explain()
