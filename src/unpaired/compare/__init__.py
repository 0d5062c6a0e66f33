"""Several methods under one budget on the same data: trained, measured, and laid side by side."""
