from __future__ import annotations

from workers.__main__ import work_once


def test_a_task_goes_from_the_api_to_its_run(api, store, task):
    task_id = api.ask("POST", "/tasks", task)[1]["id"]
    assert store.enqueue_due() == 1
    assert work_once(store, "w1")
    assert store.runs == [(task_id, "w1", None)]
    assert store.audit == [("id of system", "task.created", task_id)]
