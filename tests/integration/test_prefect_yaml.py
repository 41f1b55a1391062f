"""The deployments of prefect.yaml are what Prefect and the flows understand; Prefect itself ignores unknown keys."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
FILE: dict[str, Any] = YAML(typ="safe").load(ROOT / "prefect.yaml")
DEPLOYMENTS: dict[str, dict[str, Any]] = {one["name"]: one for one in FILE["deployments"]}
OWN = {"definitions"}
"""The key that is YAML's place for anchors and not meant for Prefect."""


def _flow(entrypoint: str) -> Any:
    module, _, name = entrypoint.rpartition(".")
    return getattr(importlib.import_module(module), name)


def test_every_flow_has_a_deployment_and_every_deployment_a_flow() -> None:
    from prefect import Flow

    import flows

    found = set()
    for info in pkgutil.iter_modules(flows.__path__):
        module = importlib.import_module(f"flows.{info.name}")
        found |= {
            f"{module.__name__}.{name}"
            for name, value in vars(module).items()
            if isinstance(value, Flow) and value.fn.__module__ == module.__name__
        }
    assert found == {one["entrypoint"] for one in DEPLOYMENTS.values()}


def test_every_key_is_one_that_prefect_knows() -> None:
    from prefect.cli.deploy._models import (
        ConcurrencyLimitSpec,
        DeploymentConfig,
        PrefectYamlModel,
        RawScheduleConfig,
        WorkPoolConfig,
    )
    from prefect.events import DeploymentEventTrigger

    assert set(FILE) - OWN <= set(PrefectYamlModel.model_fields)
    for name, one in DEPLOYMENTS.items():
        assert set(one) <= set(DeploymentConfig.model_fields), name
        assert set(one["work_pool"]) <= set(WorkPoolConfig.model_fields), name
        assert set(one.get("concurrency_limit") or {}) <= set(ConcurrencyLimitSpec.model_fields), name
        for schedule in one["schedules"]:
            assert set(schedule) <= set(RawScheduleConfig.model_fields), name
        for trigger in one.get("triggers") or ():
            assert set(trigger) <= set(DeploymentEventTrigger.model_fields) | {"type"}, name


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_a_deployment_is_named_like_its_flow_described_tagged_and_has_its_pool(name: str) -> None:
    from tasks.settings import POOL

    one = DEPLOYMENTS[name]
    assert _flow(one["entrypoint"]).name == name
    assert one["description"].strip().endswith(".")
    assert "golive" in one["tags"]
    assert one["work_pool"]["name"] == POOL


def test_entrypoints_are_modules_so_that_no_file_of_flows_shadows_a_library() -> None:
    assert all(":" not in one["entrypoint"] and "/" not in one["entrypoint"] for one in DEPLOYMENTS.values())


def test_only_monitor_keeper_and_drill_run_by_themselves_and_never_twice_at_once() -> None:
    scheduled = {name: one["schedules"] for name, one in DEPLOYMENTS.items() if one["schedules"]}
    assert {name: schedule["cron"] for name, (schedule,) in scheduled.items()} == {
        "monitor": "0 * * * *",
        "keep-guard": "*/5 * * * *",
        "restore-drill": "0 3 * * 0",
    }
    for name, (schedule,) in scheduled.items():
        assert (schedule["timezone"], schedule["active"]) == ("UTC", True)
        assert DEPLOYMENTS[name]["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_every_field_of_the_form_is_explained(name: str) -> None:
    from prefect.utilities.callables import parameter_schema

    schema = parameter_schema(_flow(DEPLOYMENTS[name]["entrypoint"])).model_dump()
    bare = [field for field, is_ in schema["properties"].items() if not is_.get("description")]
    assert bare == []


@pytest.mark.parametrize("name", sorted(DEPLOYMENTS.keys() - {"monitor", "guard", "keep-guard"}))
def test_a_form_offers_the_systems_or_takes_an_id(name: str) -> None:
    from prefect.utilities.callables import parameter_schema

    properties = parameter_schema(_flow(DEPLOYMENTS[name]["entrypoint"])).model_dump()["properties"]
    if "system" in properties:
        assert "glad-labs" in properties["system"]["enum"]
    else:
        ids = {"restore": "backup", "call-off": "announcement"}
        assert properties[ids.get(name, "waiting")]["pattern"]


def test_the_forms_offer_what_the_release_files_name_once_they_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.utilities.callables import parameter_schema

    from flows.announce import announce
    from flows.approve import approve
    from flows.switch import switch

    def field(flow: Any, name: str) -> Any:
        return parameter_schema(flow).model_dump()["properties"][name]

    assert "enum" not in field(approve, "role"), "reading every release file takes longer than an import may"
    monkeypatch.setenv("GOLIVE_FORMS", "1")
    assert "technical_lead" in field(approve, "role")["enum"]
    assert "openai" in field(switch, "name")["enum"]
    assert field(approve, "decision")["enum"] == ["approve", "reject", "waive"]
    assert field(announce, "at")["format"] == "date-time"


def test_whoever_may_be_named_in_a_release_file_may_sign() -> None:
    from flows.approve import approve

    for role in ("dba", "Technical Lead", "Ops-2"):
        given = {"waiting": "shop-1", "role": role, "person": "ann"}
        assert approve.validate_parameters(given)["role"] == role


@pytest.mark.parametrize(
    "to", ["postgresql://ana:word@db/shop", "host=db dbname=shop", "${env:A}/x", "${env:}", "${other:A}", "../shop", ""]
)
def test_the_form_of_a_restore_takes_no_dsn(to: str) -> None:
    from prefect.exceptions import ParameterTypeError

    from flows.restore import restore

    assert restore.validate_parameters({"backup": "1", "to": "${env:A}"})["to"] == "${env:A}"
    assert restore.validate_parameters({"backup": "1", "to": "glad-labs"})["to"] == "glad-labs"
    with pytest.raises(ParameterTypeError):
        restore.validate_parameters({"backup": "1", "to": to})
