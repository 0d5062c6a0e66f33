"""Models for other programs: one file that takes images of any size and needs nothing of this package."""
