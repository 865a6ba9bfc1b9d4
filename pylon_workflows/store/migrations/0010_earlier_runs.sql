-- Where a later run begins: what came before may be deleted in time, and is found by this.
CREATE INDEX history_runs ON history (at, instance) WHERE type = 'RunContinued';
