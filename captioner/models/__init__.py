"""The systems of the lecture, one file each."""
