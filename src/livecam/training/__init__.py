"""The classifier that is trained, its checkpoints, and runs that go on."""
