-- `source` is 'saved' (posted over HTTP) or 'runner' (told by a runner that was asked); `input_schema` is JSON.
ALTER TABLE definitions ADD COLUMN source TEXT NOT NULL DEFAULT 'saved';
ALTER TABLE definitions ADD COLUMN input_schema TEXT;
