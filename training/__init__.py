"""Lightning training for the models of `captioner`. Run with ``python -m training``."""
