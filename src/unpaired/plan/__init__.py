"""The plan of a training: facts of the data and the machine, and what rules decide by them, in a file to edit."""
