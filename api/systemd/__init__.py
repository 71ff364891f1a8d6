"""Unit templates of the service at boot, as package data. `api/cli/installing.py` fills them in; words between @ are its."""
