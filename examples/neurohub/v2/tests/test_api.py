"""The API as its users see it."""

import logging

import pytest
from app.database import engine
from app.edge import Edge
from app.main import api

DATA = {
    "lot_id": 1, "serial_id": 1, "process_id": 1, "equipment_id": 1, "data_level": "SERIAL", "result": "PASS",
    "started_at": "2026-01-01T10:00:00Z",
}  # fmt: skip


def ask(query):
    with engine().connect() as connection:
        return connection.exec_driver_sql(query).scalars().all()


@pytest.mark.parametrize("what", ["lots", "serials", "process-data", "equipment"])
def test_a_page_holds_100_rows(client, what):
    answer = client.get(f"/api/v1/{what}")
    assert (answer.status_code, len(answer.json()), answer.headers["x-version"]) == (200, 100, api.version)
    assert len(client.get(f"/api/v1/{what}?skip=105").json()) == 5


def test_a_lot_is_stored_changed_and_removed_with_its_trail(client):
    made = client.post("/api/v1/lots", json={"lot_number": "T-1", "product_model_id": 1}, headers={"x-user-id": "ann"})
    path = f"/api/v1/lots/{made.json()['id']}"
    assert client.patch(path, json={"status": "CLOSED"}, headers={"x-user-id": "ben"}).json()["status"] == "CLOSED"
    assert client.get(path).json()["status"] == "CLOSED"
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 404
    trail = (
        "SELECT action || user_id || client_ip FROM audit_logs WHERE table_name = 'lots' AND row_id = {} ORDER BY id"
    )
    assert ask(trail.format(made.json()["id"])) == [
        "INSERTanntestclient", "UPDATEbentestclient", "DELETEanonymoustestclient"
    ]  # fmt: skip


def test_what_others_refer_to_is_not_removed(client):
    assert client.delete("/api/v1/lots/1").status_code == 409
    assert client.delete("/api/v1/serials/1").status_code == 409


def test_a_serial_number_is_stored_once_and_removed(client):
    made = client.post("/api/v1/serials", json={"serial_number": "T-1", "lot_id": 1})
    assert made.status_code == 201
    assert client.post("/api/v1/serials", json={"serial_number": "T-1", "lot_id": 1}).status_code == 409
    assert client.delete(f"/api/v1/serials/{made.json()['id']}").status_code == 204


def test_process_data_are_stored_tried_and_removed(client):
    made = client.post("/api/v1/process-data", json={**DATA, "measurements": {"torque": 2}})
    assert (made.status_code, made.json()["measurements"]) == (201, {"torque": 2})
    count = ask("SELECT count(*) FROM process_data")
    assert client.post("/api/v1/process-data?dry_run=true", json=DATA).status_code == 200
    assert client.post("/api/v1/process-data", json={**DATA, "process_id": 99}).status_code == 409
    assert client.post("/api/v1/process-data", json={**DATA, "result": "FAIL"}).status_code == 422
    assert ask("SELECT count(*) FROM process_data") == count
    assert client.delete(f"/api/v1/process-data/{made.json()['id']}").status_code == 204


def test_health_and_metrics_are_shown(client):
    assert client.get("/health").json()["status"] == "healthy"
    client.get("/api/v1/equipment")
    shown = client.get("/metrics").text
    assert 'path="/api/v1/equipment",status="200"' in shown
    assert "neurohub_queries_total " in shown


def test_an_error_of_the_database_is_told_and_logged(client, caplog):
    logging.getLogger("neurohub").addHandler(caplog.handler)
    assert client.get("/api/v1/lots?limit=-1").status_code == 500
    assert "LIMIT must not be negative" in caplog.text


def test_faults_can_be_switched_on(client, monkeypatch):
    from fastapi.testclient import TestClient

    monkeypatch.setenv("FAIL_SHARE", "1")
    with TestClient(Edge(api)) as failing:
        assert failing.get("/api/v1/lots").status_code == 500
        assert failing.get("/health").status_code == 200
