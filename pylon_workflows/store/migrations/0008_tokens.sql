-- Who may call the API: each token's public id and the SHA-256 of its secret, which is kept nowhere.
-- `scopes` are words with a space between them. Times are microseconds since 1970, UTC.
CREATE TABLE tokens (
    id TEXT PRIMARY KEY NOT NULL,
    hash BLOB NOT NULL,
    scopes TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    note TEXT NOT NULL
);
