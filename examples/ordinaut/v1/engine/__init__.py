"""What the services share: the queue in PostgreSQL, schedules, pipelines."""
