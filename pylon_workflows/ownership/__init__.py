"""Who owns the database file: the lock, and the way of everybody else to the process that has it."""
