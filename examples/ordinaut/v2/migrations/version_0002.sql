-- Urgent tasks overtake others.
ALTER TABLE task ADD COLUMN IF NOT EXISTS priority smallint NOT NULL DEFAULT 5;
ALTER TABLE due_work ADD COLUMN IF NOT EXISTS priority smallint NOT NULL DEFAULT 5;
CREATE INDEX IF NOT EXISTS due_work_priority ON due_work (priority DESC, run_at);
