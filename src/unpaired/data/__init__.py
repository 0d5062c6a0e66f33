"""Where images come from, how they are decoded, prepared, cached and batched."""
