"""The source image, with a real Docker engine; and its versions in service, by Compose behind a router."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from tasks.domain.errors import InvalidVersion, Refused, ReleaseFileError, RolloutFailed, Unreachable
from tasks.domain.release import BUILD_LOG, IMAGE_FILE
from tasks.platforms import Running
from tasks.rollouts import Site
from tasks.rollouts.blue_green import BlueGreen
from tasks.sources.image import Image
from tests.engines import FILE, IMAGE, clear, compose, docker
from tests.services import Clients, free_port
from tests.sites import a_target, embedded

NAME = "golive-test-shop"


@pytest.fixture
def target(tmp_path, world, docker_engine):
    yield replace(a_target(world, tmp_path), system="shop")
    clear(docker_engine)
    for name in (NAME, "golive/shop"):
        if ids := set(docker(docker_engine, "images", "-q", name).split()):
            docker(docker_engine, "rmi", "-f", *ids)


@pytest.fixture
def source(tmp_path, docker_engine):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "docker-compose.yml").write_text(FILE)
    return Image(image=NAME, files=str(tmp_path / "files"), pull="never", engine=docker_engine)


def _make(address: str, tag: str) -> str:
    """Make an image of that tag that is unlike any other, and return its id."""
    base = docker(address, "create", IMAGE, "/bin/sleep", "1")
    docker(address, "commit", "--change", f"LABEL tag={tag} base={base}", base, f"{NAME}:{tag}")
    docker(address, "rm", base)
    return docker(address, "image", "inspect", "--format", "{{.Id}}", f"{NAME}:{tag}")


def test_a_tag_is_fetched_as_the_image_that_it_is(source, target, docker_engine):
    made = _make(docker_engine, "v1")
    identity = source.identify(target, "v1")
    assert identity.startswith(f"{made} sha256:")
    assert source.identify(target, made.removeprefix("sha256:")).startswith(made)
    fetched = source.fetch(target, "v1")
    assert (fetched.identity, fetched.directory) == (identity, target.root / "releases" / "v1")
    assert (fetched.directory / IMAGE_FILE).read_text().strip() == made
    assert (fetched.directory / "docker-compose.yml").read_text() == FILE
    assert source.fetch(target, "v1") == fetched
    _make(docker_engine, "v2")
    for version, words in {"v9": "one such as v1, v2|v2, v1", "f" * 64: "no version", "1+2": "no tag"}.items():
        with pytest.raises(InvalidVersion, match=words):
            source.identify(target, version)
    with pytest.raises(Refused, match="expected at most 1 MB"):
        source.model_copy(update={"max_size": 1_000_000}).identify(target, "v1")
    with pytest.raises(ReleaseFileError, match="no such directory"):
        source.model_copy(update={"files": "/none/{version}"}).identify(target, "v1")


def test_latest_that_was_moved_is_another_version_and_is_refused(source, target, docker_engine):
    first = _make(docker_engine, "latest")
    opened = source.identify(target, "latest")
    second = _make(docker_engine, "latest")
    fetched = source.fetch(target, "latest")
    assert first != second
    assert fetched.identity != opened  # by which deploy refuses it: the release was opened and signed for the other
    assert (fetched.directory / IMAGE_FILE).read_text().strip() == second
    _make(docker_engine, "latest")
    with pytest.raises(Refused, match="expected a version to mean one thing"):
        source.fetch(target, "latest")


def test_the_image_of_a_kept_release_stays_and_the_others_lose_only_the_tag_of_golive(source, target, docker_engine):
    source = source.model_copy(update={"keep": 1})
    made = {tag: _make(docker_engine, tag) for tag in ("v1", "v2", "v3")}
    for tag in made:
        source.fetch(target, tag)
    docker(docker_engine, "rmi", f"{NAME}:v3")
    docker(docker_engine, "image", "prune", "--force")
    assert set(source.prune(target, ["v3"])) == {"v1", "v2"}
    assert source.prune(target, ["v3"]) == []
    assert docker(docker_engine, "image", "ls", "--format", "{{.Tag}}", "golive/shop") == "v3"
    assert docker(docker_engine, "image", "inspect", "--format", "{{.Id}}", made["v3"]) == made["v3"]
    assert sorted(docker(docker_engine, "image", "ls", "--format", "{{.Tag}}", NAME).split()) == ["v1", "v2"]


def test_what_was_fetched_is_a_way_back_while_the_registry_is_away(source, target, docker_engine):
    away = source.model_copy(update={"image": f"127.0.0.1:1/{NAME}", "pull": "always"})
    docker(docker_engine, "tag", _make(docker_engine, "v1"), f"127.0.0.1:1/{NAME}:v1")
    before = away.model_copy(update={"pull": "never"}).fetch(target, "v1")
    assert away.fetch(target, "v1") == before
    with pytest.raises(Unreachable, match="cannot be pulled"):
        away.fetch(target, "v2")


def test_an_image_is_built_from_code_once_and_again_if_it_is_gone(target, docker_engine, tmp_path):
    for version in ("v1", "v2"):
        code = tmp_path / "builds" / version
        code.mkdir(parents=True)
        (code / "Dockerfile").write_text(f"FROM {IMAGE}\nARG OF\nLABEL of=$OF\nCOPY Dockerfile /{version}\n")
    (tmp_path / "builds" / "v2" / "Dockerfile").write_text("FROM no/such:image\nFROM")
    words = {"kind": "directory", "path": str(tmp_path / "builds")}
    source = Image.model_validate(
        {"image": NAME, "engine": docker_engine, "code": words, "build": {"args": {"OF": "{version}"}}}
    )
    fetched = source.fetch(target, "v1")
    assert fetched.identity == source.identify(target, "v1")
    built = (fetched.directory / IMAGE_FILE).read_text().strip()
    told = json.loads(docker(docker_engine, "image", "inspect", built))[0]
    assert set(told["RepoTags"]) == {f"{NAME}:v1", "golive/shop:v1"}
    assert told["Config"]["Labels"]["of"] == "v1"
    assert "LABEL of=$OF" in (fetched.directory / BUILD_LOG).read_text()  # so that a check may look for warnings
    docker(docker_engine, "rmi", "-f", built)
    assert source.fetch(target, "v1") == fetched
    again = (fetched.directory / IMAGE_FILE).read_text().strip()
    assert docker(docker_engine, "image", "inspect", "--format", "{{.Id}}", again) == again
    with pytest.raises(Exception, match="docker build"):
        source.fetch(target, "v2")
    assert not (target.root / "releases" / "v2").exists()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"image": "shop:latest"}, "pattern"),
        ({"image": "-shop"}, "pattern"),
        ({"build": {}}, "build needs code"),
        ({"files": "/x", "code": {"kind": "directory", "path": "/x"}}, "expected one of them"),
        ({"code": {"kind": "directory", "path": "/x"}, "build": {"dockerfile": "../x"}}, "pattern"),
        ({"code": {"kind": "directory", "path": "/x"}, "build": {"args": {"A": "${env:X}"}}}, "process list"),
    ],
)
def test_what_cannot_be_meant_is_refused_when_the_file_is_read(fields, words):
    with pytest.raises(ValidationError, match=words):
        Image.model_validate({"image": "registry.example.org:5000/shop/api"} | fields)


def test_images_go_forward_and_back_by_compose_behind_a_router_without_a_lost_request(
    source, target, docker_engine, world, record_testsuite_property
):
    rollout = BlueGreen.model_validate(
        {"ports": (free_port(), free_port()), "ready": {"within": "20s", "every": "50ms"}, "drain": "100ms"}
    )
    made = {version: _make(docker_engine, version) for version in ("v1", "v2", "v3")}

    def go(version: str, fault: str = "") -> float:
        fetched = source.fetch(target, version)
        platform = compose(docker_engine, variables={"IMAGE": "{image}", "FAULT": fault}, services={"web": "web"})
        at = target.at(version=version, release_dir=fetched.directory)
        platform.require_possible(at)
        acts = [step.act() for step in rollout.steps(Site(at, platform, way.router), version)]
        return float(acts[2]["seconds"])

    with embedded(Path(target.root), world) as way:
        go("v1")
        platform = compose(docker_engine)
        site = Site(target, platform, way.router)
        with Clients(way.port) as clients:
            clients.until(100)
            switches = [go("v2")]
            with pytest.raises(RolloutFailed, match="restarted"):
                go("v3", "exit")
            assert rollout.serving(site) == "v2"
            switches.append(go("v1"))
            clients.until(clients.total + 100)
        record_testsuite_property(
            "blue_green over compose", json.dumps({"requests": clients.total, "switches": switches})
        )
        assert clients.lost == []
        assert set(clients.answers) == {"v1", "v2"}
        assert rollout.serving(site) == "v1"
        for step in rollout.finish(site):
            step.act()
        running = docker(docker_engine, "ps", "--no-trunc", "--format", "{{.ID}}").split()
        images = {docker(docker_engine, "inspect", "--format", "{{.Image}}", one) for one in running}
        assert images == {made["v1"]}
        assert [platform.status(target, slot).running for slot in ("blue", "green")].count(Running.UP) == 1
