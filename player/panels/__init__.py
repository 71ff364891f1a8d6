"""Panels: where pixels leave the program.

`panel.py` says what a panel is; each other file here is one kind of panel, and `open.py` turns a DISPLAY
string into one. Nothing in this room knows what is played or when: it gets frames and rectangles, and sends
them.
"""
