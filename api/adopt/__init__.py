"""Moving in from older installations, and out again.

`loop*` reads and writes the files of one older system, `documents` and `values` read what all of them have in common, `moving` carries what was read
into the log through the commands of area adoptions. A source is never written to; what is decided is decided in `api/commands/adoptions`.
"""
