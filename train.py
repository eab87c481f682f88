"""Train a classifier and watch where it looks: ``uv run train.py`` runs the demo, ``--help`` tells the rest."""

from livecam.cli import train

if __name__ == "__main__":
    train()
