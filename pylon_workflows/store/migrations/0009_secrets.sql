-- What the file keeps for itself: random bytes, made once, by which it knows what it has given out.
CREATE TABLE secrets (
    name TEXT PRIMARY KEY NOT NULL,
    value BLOB NOT NULL
);
