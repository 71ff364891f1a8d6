"""What callers may ask for. One module per area, of the same name as its read slice: commands, load, decide.

A command is a value. `load` reads the small state that deciding needs, through the areas' queries. `decide` is pure: it answers with the
events that happened, with none when nothing changes, or raises `Rejected`.
"""
