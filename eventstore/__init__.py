"""An embedded, append-only event log on SQLite. No word of any domain lives here; payloads are text with a type tag."""
