"""One reader per family of image files; `unpaired.data.decode` chooses among them by content."""
