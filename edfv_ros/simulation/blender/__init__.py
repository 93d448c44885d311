"""Focus stacks of path-traced scenes, by Blender: test sets made by other code than the scenes that networks learn.

Blender's Python package is optional and runs in a child process only; nothing here imports it but what that child
imports.
"""

from edfv_ros.simulation.blender.job import BLENDER_KINDS
from edfv_ros.simulation.blender.stack import SAMPLES, STEPS, FocusStack, focus_steps, render_stack, require_blender

__all__ = ["BLENDER_KINDS", "SAMPLES", "STEPS", "FocusStack", "focus_steps", "render_stack", "require_blender"]
