"""What came of one or several runs, on one page and as JSON."""
