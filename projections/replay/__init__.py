"""Time travel: instants of the log, the state as it was, what changed and who changed it. Reads only; the log itself is never touched."""
