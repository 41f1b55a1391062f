"""How tasks come into the queue, and work out of it."""

CLAIM = """
UPDATE due_work SET locked_until = now() + interval '1 minute', locked_by = %s
WHERE id = (SELECT id FROM due_work WHERE run_at <= now() AND (locked_until IS NULL OR locked_until < now())
            ORDER BY run_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id, task_id, (SELECT payload FROM task WHERE task.id = task_id) AS payload
"""
ENQUEUE = """
WITH due AS (SELECT * FROM task WHERE next_run <= now() ORDER BY next_run LIMIT 500 FOR UPDATE SKIP LOCKED),
     put AS (INSERT INTO due_work (task_id, run_at) SELECT id, next_run FROM due),
     led AS (UPDATE task SET next_run = CASE due.schedule_kind WHEN 'once' THEN NULL
             ELSE now() + due.schedule_expr::interval END FROM due WHERE task.id = due.id)
SELECT count(*) AS enqueued FROM due
"""
ADD = """
INSERT INTO task (title, description, schedule_kind, schedule_expr, payload, next_run, created_by)
VALUES (%(title)s, %(description)s, %(schedule_kind)s, %(schedule_expr)s, %(payload)s, %(next_run)s, %(agent)s)
RETURNING id::text
"""
