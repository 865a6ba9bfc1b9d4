-- Who may write: one row, raised by each engine that opens the file and read in every transaction
-- (docs/decisions/0015-certain-commits.md). `batch` counts the transactions that add nothing to the history.
-- `since` is microseconds since 1970, UTC.
CREATE TABLE owner (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    epoch INTEGER NOT NULL,
    batch INTEGER NOT NULL,
    pid INTEGER NOT NULL,
    host TEXT NOT NULL,
    since INTEGER NOT NULL
);
