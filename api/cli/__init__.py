"""The command line, and the composition root: it alone builds the parts and hands them to each other."""
