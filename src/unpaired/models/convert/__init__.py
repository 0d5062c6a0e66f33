"""Weight files of other programs, turned into model folders and back."""
