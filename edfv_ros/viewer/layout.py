"""Where the viewer shows what."""

from typing import Final

import rerun.blueprint as rrb

DEPTH: Final = "depth"
CONFIDENCE: Final = "confidence"
EVENTS: Final = "events"
GUIDE: Final = "guide"
CLOUD: Final = "cloud"
FOCUS: Final = "focus/vergence_dpt"
EVENT_RATE: Final = "rates/events_per_s"
LATENCY: Final = "rates/latency_ms"
STATISTICS: Final = "statistics"


def layout() -> rrb.Blueprint:
    """Depth and cloud large, events, guide and confidence beside them, focus and rates below."""
    return rrb.Blueprint(
        rrb.Vertical(
            rrb.Horizontal(
                rrb.Spatial2DView(origin=DEPTH, name="depth (m)"),
                rrb.Spatial3DView(origin=CLOUD, name="cloud (m)"),
                column_shares=[1, 1],
            ),
            rrb.Horizontal(
                rrb.Tabs(
                    rrb.Spatial2DView(origin=EVENTS, name="events"),
                    rrb.Spatial2DView(origin=GUIDE, name="guide"),
                    rrb.Spatial2DView(origin=CONFIDENCE, name="confidence"),
                ),
                rrb.TimeSeriesView(origin="focus", name="focus (dpt)"),
                rrb.TimeSeriesView(origin=EVENT_RATE, name="events per second"),
                rrb.Tabs(
                    rrb.TextDocumentView(origin=STATISTICS, name="statistics"),
                    rrb.TimeSeriesView(origin=LATENCY, name="latency (ms)"),
                ),
            ),
            row_shares=[3, 2],
        ),
        rrb.TimePanel(state="collapsed"),
        collapse_panels=True,
    )
