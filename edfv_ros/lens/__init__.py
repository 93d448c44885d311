"""The lens: drivers, focus tracks, and what binds them to the time of the events."""
