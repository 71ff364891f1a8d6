"""Every way in: commands and their deciders, the Python door, HTTP, the command line."""
