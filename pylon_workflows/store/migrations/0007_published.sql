-- Events for whoever waits with a correlation key. Times are microseconds since 1970, UTC. `outcome` is null while the
-- event is kept: until `keep_until`, or until it is 'claimed' by an instance, has 'started' one, or has 'expired'. Then
-- the row is remembered until `remember_until`, without `start`, `start_input` and `data`.
-- `start` is JSON of what it starts when nobody waits: {"name", "id", "tags"}.
CREATE TABLE published (
    key INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    event_id TEXT NOT NULL,
    event TEXT NOT NULL,
    correlation TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    keep_until INTEGER NOT NULL,
    remember_until INTEGER NOT NULL,
    outcome TEXT,
    instance_id TEXT,
    start TEXT,
    start_input BLOB,
    data BLOB
);

CREATE UNIQUE INDEX published_by_event_id ON published (source, event_id);
CREATE INDEX published_kept ON published (correlation, event) WHERE outcome IS NULL;
CREATE INDEX published_expiring ON published (keep_until) WHERE outcome IS NULL;
CREATE INDEX published_remembered ON published (remember_until) WHERE outcome IS NOT NULL;

-- Since when an instance waits that waits with a correlation key: of several the oldest wait gets the event.
ALTER TABLE instances ADD COLUMN waiting_since INTEGER;
UPDATE instances SET waiting_since = (
    SELECT at FROM history
    WHERE history.instance = instances.key AND history.type = 'WaitStarted' ORDER BY history.revision DESC LIMIT 1
) WHERE correlation IS NOT NULL;
DROP INDEX instances_by_correlation;
CREATE INDEX instances_by_correlation ON instances (correlation, waiting_for, waiting_since)
WHERE correlation IS NOT NULL;
