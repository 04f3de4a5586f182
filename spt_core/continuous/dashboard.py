"""The service's and the watcher's figures as a Grafana dashboard, to be imported as it is.

COUNTS, LEVELS and Serve's own metrics -> the dashboard's JSON
"""

from __future__ import annotations

from typing import Any, NamedTuple

from spt_core.continuous.meters import COUNTS, LEVELS

PREFIX = "ray_"  # which Ray puts before the name of a metric, and _total behind that of a counter
WIDTH, HEIGHT = 12, 8  # of a panel, of 24 columns
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


class _Panel(NamedTuple):
    """One graph: its title, the query in PromQL, and what a line of it is called."""

    title: str
    query: str
    legend: str


_SERVING = (
    _Panel(
        "requests a second",
        "sum by (application) (rate(ray_serve_num_http_requests_total[5m]))",
        "{{application}}",
    ),
    _Panel(
        "share of requests answered with 5xx",
        'sum by (application) (rate(ray_serve_num_http_error_requests_total{error_code=~"5.."}'
        "[5m])) / sum by (application) (rate(ray_serve_num_http_requests_total[5m]))",
        "{{application}}",
    ),
    _Panel(
        "99th percentile of a request, ms",
        "histogram_quantile(0.99, sum by (application, le) "
        "(rate(ray_serve_http_request_latency_ms_bucket[5m])))",
        "{{application}}",
    ),
    _Panel(
        "requests a second with values that no training row had",
        "sum by (version, kind) (rate(ray_spt_input_cautions_total[5m]))",
        "{{version}} {{kind}}",
    ),
)


def dashboard() -> dict[str, Any]:
    """The dashboard's JSON; it asks for the Prometheus to read when it is opened."""
    panels = [*_SERVING, *_watching()]
    return {
        "uid": "spt",
        "title": "SPT",
        "tags": ["spt"],
        "schemaVersion": 39,
        "time": {"from": "now-24h", "to": "now"},
        "templating": {
            "list": [{"name": "datasource", "type": "datasource", "query": "prometheus"}]
        },
        "panels": [_panel(number, panel) for number, panel in enumerate(panels)],
    }


def _watching() -> list[_Panel]:
    counts = [
        _Panel(
            f"{meter.description}, an hour",
            f"sum{_by(meter.label)} (increase({PREFIX}{name}_total[1h]))",
            _legend(meter.label),
        )
        for name, meter in COUNTS.items()
    ]
    levels = [
        _Panel(meter.description, f"max{_by(meter.label)} ({PREFIX}{name})", _legend(meter.label))
        for name, meter in LEVELS.items()
    ]
    return [*counts, *levels]


def _panel(number: int, panel: _Panel) -> dict[str, Any]:
    row, column = divmod(number, 24 // WIDTH)
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "datasource": _SOURCE,
        "gridPos": {"x": column * WIDTH, "y": row * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "targets": [
            {"refId": "A", "datasource": _SOURCE, "expr": panel.query, "legendFormat": panel.legend}
        ],
    }


def _by(label: str) -> str:
    return f" by ({label})" if label else ""


def _legend(label: str) -> str:
    return f"{{{{{label}}}}}" if label else ""
