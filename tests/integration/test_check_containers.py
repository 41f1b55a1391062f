from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tasks.checks.compose_config import ComposeConfig
from tasks.checks.container import Container
from tasks.checks.container_stats import ContainerStats
from tasks.checks.docker import Docker
from tasks.checks.docker_network import DockerNetwork
from tasks.checks.image import Image
from tasks.domain.docker import is_latest, not_meant
from tasks.domain.errors import Inconclusive, SecretMissing, Unreachable
from tasks.domain.outcome import Reading
from tasks.domain.ports import World
from tasks.domain.target import Target
from tests.engines import GENERATIONS, IMAGE, clear, docker, require_generation
from tests.looks import F, P, U, look

OK = ["--health-cmd", "true", "--health-interval", "1s"]
LABELS = ["--label", "com.docker.compose.project=shop", "--label", "com.docker.compose.oneoff=False"]


@pytest.fixture
def target(world: World, tmp_path: Path) -> Target:
    return Target(world, "demo", "base", root=tmp_path, release_dir=tmp_path)


@pytest.fixture(scope="module")
def engine(docker_engine: str) -> Iterator[str]:
    """An engine with containers: one that is well, one that is ill, one never started, one that has ended."""
    run = ["run", "-d", "--network", "host"]
    well = ["--name", "well", *OK, "--memory", "64m", "--cpus", "0.5", "--log-opt", "max-size=1m"]
    service = [*LABELS, "--label", "com.docker.compose.service=api", "--security-opt", "no-new-privileges"]
    docker(docker_engine, *run, *well, *service, IMAGE, "/bin/sleep", "600")
    ill = ["--name", "ill", "--health-cmd", "echo out of order; false", "--health-retries", "1"]
    docker(docker_engine, *run, *ill, "--health-interval", "1s", IMAGE, "/bin/sleep", "600")
    docker(docker_engine, "create", "--name", "made", "--privileged", IMAGE, "/bin/sleep", "1")
    docker(docker_engine, *run, "--name", "ended", IMAGE, "/bin/sh", "-c", "exit 3")
    yield docker_engine
    clear(docker_engine)


def settled(target: Target, engine: str, name: str, **fields: Any) -> Reading:
    """Look once the container's first check of health has been made."""
    for _ in range(200):
        if look(Container, target, containers=[name], engine=engine).outcome is not U:
            return look(Container, target, containers=[name], engine=engine, **fields)
        target.world.clock.sleep(0.1)
    raise AssertionError(f"{name} does not settle")


def test_a_container_must_run_be_healthy_and_confined(target, engine):
    reading = settled(
        target, engine, "well", healthcheck=True, limits=["cpu", "memory"], security=["no-new-privileges:true"],
        image="golive-test:{version}", latest="deny", log_rotation=True, networks=["host"],
    )  # fmt: skip
    assert reading.outcome is P, reading
    assert "well is running = running; well is healthy = healthy; well restarted 0 times ≤ 0" in reading.seen
    assert (reading.detail["states"], reading.detail["images"]) == ({"well": "running"}, {"well": IMAGE})
    assert look(Container, target, services=["api"], project="shop", engine=engine).outcome is P
    assert look(Container, target, containers=["well"], engine=engine, published=[]).outcome is U, "it has all ports"


def test_each_thing_that_is_wrong_with_a_container_is_named(target, engine):
    reading = settled(target, engine, "ill", security=["no-new-privileges"], limits=["memory"], log_rotation=True)
    assert reading.outcome is F
    for words in ("ill is unhealthy = healthy: out of order", "ill lacks no-new-privileges",
                  "ill has no limit of memory", "ill logs by json-file, without limit"):  # fmt: skip
        assert words in reading.seen
    assert look(Container, target, containers=["made"], engine=engine).outcome is U
    reading = look(Container, target, containers=["made"], engine=engine, security=["no-new-privileges"])
    assert reading.seen == "made is created: unknown; made lacks no-new-privileges: failed; made is privileged: failed"
    reading = look(Container, target, containers=["ended", "absent"], engine=engine, networks=["net"], image="x:1")
    for words in ("ended is exited = running", "there is no container absent", "ended is not in network net",
                  f"ended runs {IMAGE} = x:1"):  # fmt: skip
        assert words in reading.seen
    assert look(Container, target, containers=["ended"], engine=engine, state="exited").outcome is F, "exit code 3"
    reading = look(Container, target, services=["worker"], project="shop", engine=engine)
    assert reading.seen == "service worker has no container: failed"


def test_what_containers_use_is_measured_and_compared_with_the_baseline(target, engine):
    check = ContainerStats.model_validate(
        {
            "name": "it",
            "containers": ["well"],
            "engine": engine,
            "grown": "50%",
            "memory": "60MB",
            "memory_share": "90%",
        }
    )
    assert check.look(target).outcome is U, "no baseline is on record"
    recorded = check.record(target)
    json.dumps(recorded)
    assert recorded["containers"]["well"]["memory"] > 0
    less = {"containers": {"well": {"memory": recorded["containers"]["well"]["memory"] / 10}}}
    reading = check.look(target.at(baseline={"it": less}))
    assert (reading.outcome, "memory of well grew by" in reading.seen) == (F, True)
    ended = ContainerStats.model_validate({"name": "it", "containers": ["ended"], "engine": engine})
    assert ended.look(target).outcome is U
    with pytest.raises(Inconclusive, match="ended does not run"):
        ended.record(target)


def test_an_image_its_size_and_name_are_looked_at(target, engine):
    reading = look(Image, target, image="golive-test:{version}", engine=engine, size="1 GB")
    assert reading.outcome is P, reading
    assert reading.unit == "bytes"
    assert look(Image, target, image=IMAGE, engine=engine, size="1 MB").outcome is F
    assert look(Image, target, image=IMAGE, engine=engine, root="deny").seen == "it runs as root: failed"
    assert look(Image, target, image=IMAGE, engine=engine, labels={"a": "b"}).outcome is F
    assert look(Image, target, image="none:1", engine=engine).seen == "there is no image none:1"
    docker(engine, "tag", IMAGE, "bare:latest")
    assert look(Image, target, image="bare", engine=engine).outcome is F


def test_a_network_is_looked_at(target, engine):
    def network(name: str, **fields: Any) -> Reading:
        return look(DockerNetwork, target, network=name, engine=engine, **fields)

    assert network("host", driver="host", internal=False).outcome is P
    assert network("host", driver="bridge").seen == "driver host = bridge: failed"
    assert network("host", subnet="10.0.0.0/8", options={"a": "b"}).outcome is F
    assert network("absent").seen == "there is no network absent"


def test_the_engine_and_its_machine_are_looked_at(target, engine):
    reading = look(Docker, target, engine=engine, at_least="19.3", cpus=1, memory="1MB")
    assert reading.outcome is P, reading
    assert look(Docker, target, engine=engine, at_least="99").outcome is F
    assert look(Docker, target, engine=engine, cpus=9999).outcome is F
    assert look(Docker, target, engine="unix:///no/such/socket").outcome is F
    with pytest.raises(ValidationError, match="is not a version"):
        Docker.model_validate({"name": "it", "at_least": "new"})


@pytest.mark.parametrize(
    "check",
    [(Container, {"containers": ["x"]}), (Image, {"image": "x:1"}), (DockerNetwork, {"network": "x"})],
    ids=["container", "image", "network"],
)
def test_without_an_engine_nothing_is_known(target, engine, check):
    with pytest.raises(Unreachable):
        look(check[0], target, engine="unix:///no/such/socket", **check[1])


COMPOSE = """
services:
  api:
    image: api:${VERSION}
    mem_limit: 64m
    cpus: 0.5
    restart: always
    security_opt: ["no-new-privileges:true"]
    healthcheck: {test: ["CMD", "true"]}
    logging: {driver: json-file, options: {max-size: 1m}}
    ports: ["127.0.0.1:8000:80", "8443:443"]
    environment: {JWT_SECRET: "${JWT_SECRET}", RATE_LIMIT_PER_MINUTE: "60"}
  loose:
    image: other
    privileged: true
    environment: [DEBUG=1, EMPTY=]
  made:
    build: .
"""


@pytest.mark.parametrize("generation", GENERATIONS)
def test_what_a_compose_file_comes_to_is_looked_at(target, tmp_path, generation):
    require_generation(generation)
    (tmp_path / "compose.yml").write_text(f'version: "2.4"\n{COMPOSE}')
    secret = "a-long-and-secret-word"
    (tmp_path / "secret").write_text(secret)
    (tmp_path / "secret").chmod(0o600)

    def config(**fields: Any) -> Reading:
        plain = {"JWT_SECRET": f"${{file:{tmp_path}/secret}}", "VERSION": "{version}"}
        return look(
            ComposeConfig, target, **{"files": ["compose.yml"], "compose": generation, "environment": plain} | fields
        )

    good = config(
        services=["api"], limits=["cpu", "memory"], security=["no-new-privileges"], healthcheck=True, restart=True,
        log_rotation=True, published=["127.0.0.1:8000", "8443"],
        variables={"JWT_SECRET": {"min_length": 20, "not": ["changeme"]}, "RATE_LIMIT*": {"pattern": "[0-9]+"}},
    )  # fmt: skip
    assert good.outcome is P, good
    assert secret not in repr(good)
    assert config(services=["api"], published=["8000"]).seen == "api publishes 0.0.0.0:8443: failed"
    reading = config(
        services=["loose", "made", "none"], limits=["memory"], security=["no-new-privileges"], healthcheck=True,
        restart=True, log_rotation=True, variables={"EMPTY": {}, "JWT*": {}},
    )  # fmt: skip
    for words in ("there is no service none", "loose: image other names no version", "loose is privileged",
                  "loose lacks a check of health", "loose: restart no", "loose has no limit of memory",
                  "loose logs without a limit", "loose: EMPTY is empty", "no service gets JWT*"):  # fmt: skip
        assert words in reading.seen
    assert "made: image" not in reading.seen
    reading = config(services=["api"], variables={"JWT_SECRET": {"min_length": 99}})
    assert reading.seen == "api: JWT_SECRET has 22 characters ≥ 99: failed"
    assert secret not in repr(config(services=["api"], variables={"JWT_SECRET": {"not": [secret.upper()]}}))
    assert "JWT_SECRET is not set" in config(environment={"VERSION": "1"}).seen
    assert config(files=["none.yml"]).seen == "there is no file none.yml"
    (tmp_path / "broken.yml").write_text("services: [")
    reading = config(files=["broken.yml"])
    assert (reading.outcome, "Compose cannot read it" in reading.seen) == (F, True)
    with pytest.raises(SecretMissing):
        config(environment={"JWT_SECRET": "${env:NO_SUCH_VARIABLE_HERE}"})


@pytest.mark.parametrize(
    ("image", "bare"),
    [("api", True), ("api:latest", True), ("host:5000/api", True), ("host:5000/api:1.2", False), ("a@sha256:1", False)],
)
def test_an_image_without_a_version_is_known_by_its_name(image, bare):
    assert is_latest(image) is bare


def test_ports_that_are_not_meant_are_told_with_their_address():
    ports = [("127.0.0.1", "8000"), ("", "8000"), ("::", "443"), ("0.0.0.0", "443"), ("", "9000")]
    assert not_meant(ports, ["127.0.0.1:8000", "443"]) == ["0.0.0.0:8000", "0.0.0.0:9000"]


def test_containers_without_names_or_project_are_refused():
    for wrong in ({}, {"services": ["api"]}):
        with pytest.raises(ValidationError, match=r"containers or services|need their project"):
            Container.model_validate({"name": "it", **wrong})
