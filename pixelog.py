"""The front door for importers and for `python -m pixelog`."""
