"""Ratios within one run: ours against the plain alternative, in turns."""
