"""A user's table of pictures and captions, checked, numbered and put into batches."""
