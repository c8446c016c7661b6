"""From bytes to pictures, from pictures to tensors, from tensors to features."""
