"""The action ~/measure_depth, where its type is installed: one sweep, one depth image, with feedback."""

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from rclpy.action import ActionServer, CancelResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.exceptions import InvalidHandle
from rclpy.node import Node

from edfv_ros.errors import EdfvError
from edfv_ros.nodes.background import Background
from edfv_ros.nodes.operations import DepthOperations
from edfv_ros.nodes.sweep_messages import SweepMessages

if TYPE_CHECKING:
    from collections.abc import Callable

    from edfv_ros.pipeline import DepthOutput

try:
    from edfv_interfaces.action import MeasureDepth
except ImportError:  # a package of its own, which has to be built
    MeasureDepth = None


class MeasureAction:
    """Serves the action; without its type, says once what that means.

    Args:
        node: whose action it is.
        background: of the node.
        operations: take the image.
        messages: of an image.
    """

    def __init__(
        self,
        node: Node,
        background: Background,
        operations: DepthOperations,
        messages: "Callable[[DepthOutput], SweepMessages | None]",
    ) -> None:
        self._node = node
        self._background = background
        self._operations = operations
        self._messages = messages
        self._server: ActionServer | None = None
        if MeasureDepth is None:
            node.get_logger().info(
                "edfv_interfaces is not installed: no action ~/measure_depth, the service ~/single_shot does without "
                "(docs/ros.md says how to build it)"
            )
            return
        self._server = ActionServer(
            node,
            MeasureDepth,
            "~/measure_depth",
            self._execute,
            cancel_callback=lambda goal: CancelResponse.ACCEPT,
            callback_group=ReentrantCallbackGroup(),  # cancelling must not wait for what is to be cancelled
        )

    def destroy(self) -> None:
        """Before the node is destroyed."""
        if self._server is not None:
            self._server.destroy()

    async def _execute(self, goal: Any) -> Any:
        result = MeasureDepth.Result()
        try:
            output = await self._background.run(lambda: self._take(goal))
            self._fill(result, output)
        except EdfvError as error:
            result.message = str(error)
        except Exception as error:  # rclpy would print a traceback
            result.message = f"unexpected {type(error).__name__}: {error}"
            self._node.get_logger().error(result.message)
        if goal.is_cancel_requested:
            goal.canceled()
        elif result.depth.height:
            goal.succeed()
        else:
            goal.abort()
        return result

    def _take(self, goal: Any) -> "DepthOutput":
        """In a thread of its own."""

        def tell(progress: float, phase: str) -> None:
            with suppress(InvalidHandle):  # the node is gone, and so is whom it would tell
                goal.publish_feedback(MeasureDepth.Feedback(progress=progress, phase=phase))

        request = goal.request
        return self._operations.take_image(
            request.near_m, request.far_m, cancelled=lambda: goal.is_cancel_requested, on_progress=tell
        )

    def _fill(self, result: Any, output: "DepthOutput") -> None:
        messages = self._messages(output)
        if messages is None:
            return
        result.depth, result.confidence = messages.depth(), messages.confidence()
        result.camera_info = messages.camera_info()
        result.stamp = result.depth.header.stamp
        result.coverage = messages.coverage
        result.message = f"depth of {messages.coverage:.0%} of the pixels"
