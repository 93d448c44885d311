"""The live viewer: depth, points, events, focus and statistics in Rerun (https://rerun.io)."""
