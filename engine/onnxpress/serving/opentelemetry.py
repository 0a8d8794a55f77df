"""A service's metrics for OpenTelemetry."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from onnxpress.errors import ConfigError, MissingDependencyError
from onnxpress.serving.exported import COUNTERS, GAUGES, HISTOGRAMS, Exported, require_unreserved
from onnxpress.serving.metrics import ServiceMetrics

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Meter, Observation

__all__ = ["ServiceInstruments"]


class ServiceInstruments:
    """Observable instruments of a meter, which read a service when they are collected, until closed.

    instruments = ServiceInstruments(service.metrics, {"model": "reviews"})

    Names are those of Prometheus's `ServiceCollector` with dots, as "onnxpress.requests"; attributes are its labels. A
    service is read once a collection, so the instruments agree with each other.

    OpenTelemetry has no observable histogram. Each is three counters instead, as Prometheus writes it: its values
    ("onnxpress.batch_size.count"), their sum ("….sum"), and those up to each bound ("….bucket", by the attribute "le").
    Nothing is lost by that, and what was before is in it; a histogram that is told each value would begin empty, and
    cost every request its time.
    """

    def __init__(
        self,
        read: Callable[[], ServiceMetrics],
        attributes: Mapping[str, str] | None = None,
        meter: Meter | None = None,
    ) -> None:
        """Begin to report.

        Args:
            read: A service's `metrics`.
            attributes: Attributes that tell this service from others.
            meter: Where the instruments are; None for the meter "onnxpress" of the global provider.

        Raises:
            ConfigError: A service of this meter has the same attributes, or one has a name that the metrics use.
            MissingDependencyError: opentelemetry-api is not installed.
        """
        require_unreserved(attributes or {})
        self._read = read
        self._attributes = frozenset((attributes or {}).items())
        self._instruments = _instruments_of(_global_meter() if meter is None else meter)
        self._instruments.add(self._attributes, read)

    def close(self) -> None:
        """Report nothing more. The meter lets go of the service; its instruments stay, which nothing can remove."""
        self._instruments.remove(self._attributes, self._read)


class _Instruments:
    """The instruments of one meter, and the services that they report.

    They are made once: a meter ignores, without a word, those that are made again.
    """

    def __init__(self, meter: Meter) -> None:
        self._lock = threading.Lock()
        self._services: dict[frozenset[tuple[str, str]], Callable[[], ServiceMetrics]] = {}
        self._unreported: dict[str, list[Observation]] = {}
        for gauge in GAUGES:
            name = _name(gauge)
            meter.create_observable_gauge(name, [partial(self._report, name)], gauge.unit, gauge.words)
        counters = [(_name(counter), counter.unit, counter.words) for counter in COUNTERS]
        for histogram in HISTOGRAMS:
            name, words = _name(histogram), histogram.words
            counters += [
                (f"{name}.count", "", words),
                (f"{name}.sum", histogram.unit, words),
                (f"{name}.bucket", "", words),
            ]
        for name, unit, words in counters:
            meter.create_observable_counter(name, [partial(self._report, name)], unit, words)

    def add(self, attributes: frozenset[tuple[str, str]], read: Callable[[], ServiceMetrics]) -> None:
        with self._lock:
            if attributes in self._services:
                raise ConfigError(f"a service of this meter has the attributes {dict(attributes)}; give each its own")
            self._services[attributes] = read

    def remove(self, attributes: frozenset[tuple[str, str]], read: Callable[[], ServiceMetrics]) -> None:
        with self._lock:
            if self._services.get(attributes) is read:
                del self._services[attributes]

    def _report(self, name: str, options: CallbackOptions) -> list[Observation]:
        """What `name` has to say. A collection asks each instrument once: one that asks again begins the next."""
        with self._lock:
            if name not in self._unreported:
                self._unreported = self._observations()
            return self._unreported.pop(name, [])

    def _observations(self) -> dict[str, list[Observation]]:
        from opentelemetry.metrics import Observation

        found = defaultdict(list)
        for attributes, read in self._services.items():
            for name, own, value in _values(read()):
                found[name].append(Observation(value, {**dict(attributes), **own}))
        return found


_made: Final[WeakKeyDictionary[Meter, _Instruments]] = WeakKeyDictionary()
_making: Final = threading.Lock()


def _instruments_of(meter: Meter) -> _Instruments:
    with _making:
        if meter not in _made:
            _made[meter] = _Instruments(meter)
        return _made[meter]


@cache
def _global_meter() -> Meter:
    """One object for all services, even before there is a provider."""
    try:
        from opentelemetry.metrics import get_meter
    except ImportError as error:
        raise MissingDependencyError("opentelemetry.metrics", ("metrics",)) from error
    return get_meter("onnxpress")


def _name(metric: Exported[Any]) -> str:
    return f"onnxpress.{metric.name}"


def _values(found: ServiceMetrics) -> Iterator[tuple[str, dict[str, str], float]]:
    """Each value, with its instrument's name and the attributes that tell it from others there."""
    for counter in COUNTERS:
        for value, count in counter.read(found).items():
            yield _name(counter), {counter.by: value}, count
    for gauge in GAUGES:
        yield _name(gauge), {}, gauge.read(found)
    for metric in HISTOGRAMS:
        histogram = metric.read(found)
        yield f"{_name(metric)}.count", {}, histogram.count
        yield f"{_name(metric)}.sum", {}, histogram.total
        for bound, values in histogram.cumulative():
            yield f"{_name(metric)}.bucket", {"le": bound}, values
