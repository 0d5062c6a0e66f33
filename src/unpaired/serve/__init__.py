"""The translation service, its page, and the same page for a browser alone."""
