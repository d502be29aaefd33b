"""The session log in SQLite (contract, section 7)."""
