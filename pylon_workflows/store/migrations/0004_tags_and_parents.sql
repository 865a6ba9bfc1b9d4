-- Lists go by the time of creation, and so does each index that they walk: `key` stands at the end of every index.
DROP INDEX instances_by_name;
DROP INDEX instances_by_status;
CREATE INDEX instances_by_creation ON instances (created_at);
CREATE INDEX instances_by_name ON instances (name, created_at);
CREATE INDEX instances_by_status ON instances (status, created_at);

-- Who started it, and a second address for whatever it waits for.
ALTER TABLE instances ADD COLUMN parent_id TEXT;
ALTER TABLE instances ADD COLUMN correlation TEXT;
CREATE INDEX instances_by_parent ON instances (parent_id, created_at) WHERE parent_id IS NOT NULL;
CREATE INDEX instances_by_correlation ON instances (correlation) WHERE correlation IS NOT NULL;

-- Written when an instance is created, and never changed. `created_at` is the instance's.
CREATE TABLE tags (
    instance INTEGER NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (instance, name)
) WITHOUT ROWID;

CREATE INDEX tags_by_value ON tags (name, value, created_at, instance);
