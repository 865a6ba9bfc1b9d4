"""Why an instance is where it is, in plain words and as data: what it waits for, and what would let it go on (P8)."""
