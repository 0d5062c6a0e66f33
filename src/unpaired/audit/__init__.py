"""Whether a translator hides its input in its output, measured by disturbing what it made (Chu et al. 2017)."""
