"""Where instances are kept: one SQLite file, or memory."""
