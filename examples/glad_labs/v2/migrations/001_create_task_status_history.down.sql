-- Takes the audit trail away, with all that it holds.
DROP TABLE IF EXISTS task_status_history;
