"""Who owns the database file."""
