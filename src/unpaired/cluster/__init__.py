"""Translation of large collections on a Ray cluster: every output exactly once, whatever is killed."""
