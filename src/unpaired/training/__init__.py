"""Training: the loop and everything around it; a method says what is minimised, this room does it."""
