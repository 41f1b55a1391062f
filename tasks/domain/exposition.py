"""The text in which a service shows its metrics to Prometheus."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator

_SELECTOR = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?")
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"\s*(?:,|$)')


@dataclass(frozen=True)
class Sample:
    """One value of a metric with its labels."""

    name: str
    labels: Mapping[str, str]
    value: float


def samples(text: str) -> Sequence[Sample]:
    """Return the samples of a text; raises `ValueError` if it is not in that form."""
    from prometheus_client.parser import text_string_to_metric_families

    families = text_string_to_metric_families(text)
    return [Sample(one.name, one.labels, one.value) for family in families for one in family.samples]


def total(found: Sequence[Sample], selector: str) -> float | None:
    """Return the sum of the samples with that name and those labels, or None if there is none or one is no number."""
    name, labels = _parsed(selector)
    values = [one.value for one in found if one.name == name and labels.items() <= one.labels.items()]
    return sum(values) if values and all(map(math.isfinite, values)) else None


def _parsed(selector: str) -> tuple[str, Mapping[str, str]]:
    match = _SELECTOR.fullmatch(selector.strip())
    if match is None:
        raise ValueError(f'{selector!r} is not a metric; expected one as in jobs_total{{state="done"}}')
    rest, labels = match[2] or "", dict[str, str]()
    while rest.strip():
        label = _LABEL.match(rest)
        if label is None:
            raise ValueError(f'{rest!r} is not a label; expected one as in state="done"')
        labels[label[1]] = re.sub(r"\\(.)", r"\1", label[2])
        rest = rest[label.end() :]
    return match[1], labels


def _selects(selector: str) -> str:
    _parsed(selector)
    return selector


Metric = Annotated[str, AfterValidator(_selects)]
"""A metric by its name and those labels that matter, as ``jobs_total{state="done"}``; several series are added up."""


@dataclass(frozen=True)
class Family:
    """A metric of golive's own: its name, what it says, and its samples by labels; a count only ever grows."""

    name: str
    help: str
    labels: tuple[str, ...]
    samples: Sequence[tuple[tuple[str, ...], float]]
    counts: bool = False


def exposed(families: Sequence[Family]) -> str:
    """Return metrics as Prometheus reads them."""
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    class _Collector:
        def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
            for family in families:
                kind = CounterMetricFamily if family.counts else GaugeMetricFamily
                found = kind(family.name, family.help, labels=family.labels)
                for labels, value in family.samples:
                    found.add_metric(labels, value)
                yield found

    registry = CollectorRegistry()
    registry.register(_Collector())
    return generate_latest(registry).decode()
