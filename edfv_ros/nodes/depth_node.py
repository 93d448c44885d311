"""The depth camera as a lifecycle node: callbacks only, the work is done by a :class:`DepthSession`."""

import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter

from edfv_ros.errors import EdfvError
from edfv_ros.nodes.background import Background
from edfv_ros.nodes.declaration import declare_parameters, read_parameters
from edfv_ros.nodes.depth_session import DepthSession
from edfv_ros.nodes.depth_setup import DepthSetup, prepare
from edfv_ros.nodes.depth_topics import DepthTopics
from edfv_ros.nodes.diagnostics import DIAGNOSTICS_PERIOD_S, DepthDiagnostics
from edfv_ros.nodes.input_topics import input_topics
from edfv_ros.nodes.measure_action import MeasureAction
from edfv_ros.nodes.operations import DepthOperations
from edfv_ros.nodes.parameters import FIELDS, DepthParameters, ParameterError, rules
from edfv_ros.nodes.running import CancellableNode
from edfv_ros.nodes.services import DepthServices
from edfv_ros.nodes.static_frames import StaticFrames
from edfv_ros.nodes.sweep_messages import SweepMessages
from edfv_ros.pipeline import DepthOutput
from edfv_ros.rig.report import rig_doubts
from edfv_ros.running_recording import RunningRecording

AUTOSTART_PERIOD_S = 0.1
AUTOSTART_LONGEST_PERIOD_S = 8.0


class DepthNode(CancellableNode):
    """Configure checks parameters, rig and files; activate opens the source and runs; deactivate stops and closes it.

    What fails is one line in the log and in /diagnostics, and the transition fails. A source that breaks while the
    node is active is opened again by the session.
    """

    def __init__(self, **options: Any) -> None:
        """Options are rclpy's; raises ParameterError where an initial parameter has a wrong type or is out of range."""
        super().__init__("depth_node", **options)
        declare_parameters(self)
        self._depth_parameters = DepthParameters()
        self._problem = ""
        self._ending = False
        self._setup: DepthSetup | None = None
        self._next_setup: DepthSetup | None = None  # between the check of parameters and their adoption
        self._session: DepthSession | None = None
        self._topics = DepthTopics(self)
        self._frames = StaticFrames(self)
        self._recording = RunningRecording(on_error=self._report)
        self._operations = DepthOperations(self._recording)
        background = Background(self)
        DepthServices(self, background, self._operations, self._describe)
        self._measure_action = MeasureAction(self, background, self._operations, self._messages)
        self._diagnostics = DepthDiagnostics(self.get_fully_qualified_name())
        self._diagnostics_publisher = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.create_timer(DIAGNOSTICS_PERIOD_S, self._publish_diagnostics)
        self.add_on_set_parameters_callback(self._check_parameters)
        self.add_post_set_parameters_callback(self._adopt_parameters)
        self._autostart_timer = self.create_timer(AUTOSTART_PERIOD_S, self._autostart)
        if not self.get_parameter("autostart").value:
            self._autostart_timer.cancel()

    def destroy_node(self) -> None:
        self._measure_action.destroy()
        super().destroy_node()

    def cancel(self) -> None:
        """Let an activation in progress fail soon; called from another thread before the executor is stopped."""
        self._ending = True
        session = self._session
        if session is not None:
            session.cancel()

    # Lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._attempt(self._configure)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        super().on_activate(state)
        result = self._attempt(self._activate)
        if result is not TransitionCallbackReturn.SUCCESS:
            super().on_deactivate(state)
        return result

    # Autostart never deactivates, cleans up or shuts down: where that is asked for, somebody else has taken over.

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._autostart_timer.cancel()
        result = self._attempt(self._stop)
        super().on_deactivate(state)
        return result

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._autostart_timer.cancel()
        return self._attempt(self._release)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._autostart_timer.cancel()
        return self._attempt(self._release)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything, so that the node can be configured again."""
        problem = self._problem
        result = self._attempt(self._release)
        self._problem = problem
        return result

    def _attempt(self, action: Callable[[], None]) -> TransitionCallbackReturn:
        try:
            action()
        except EdfvError as error:
            self._report(str(error))
            return TransitionCallbackReturn.FAILURE
        except Exception as error:  # rclpy would swallow it
            self._report(f"unexpected {type(error).__name__}: {error}")
            self.get_logger().debug(traceback.format_exc())
            return TransitionCallbackReturn.ERROR
        self._problem = ""
        return TransitionCallbackReturn.SUCCESS

    def _configure(self) -> None:
        self._depth_parameters = read_parameters(self)
        topics = input_topics(self._depth_parameters, self.get_name(), self.get_namespace(), self.resolve_topic_name)
        self._setup = prepare(self._depth_parameters, topics)
        self._operations.adopt(self._depth_parameters)
        camera = self._setup.rig.camera
        self._topics.configure(camera)
        self._frames.publish(camera)
        self.get_logger().info(
            f"configured {camera.name} ({camera.model}, {camera.width_px} x {camera.height_px}) "
            f"from {self._setup.source_name}"
        )
        for doubt in rig_doubts(self._setup.rig):
            self.get_logger().warning(doubt)

    def _activate(self) -> None:
        assert self._setup is not None
        session = DepthSession(
            partial(self._setup.open_devices, self._recording),
            self._depth_parameters,
            self._publish_depth,
            at_end=self._setup.at_end,
            on_error=self._report,
            on_recovery=self._report_recovery,
        )
        self._session = session
        if self._ending:  # since before there was a session to cancel
            session.cancel()
        try:
            session.start()
        except BaseException:
            self._session = None
            raise
        self._operations.serve(self._setup, session)
        self.get_logger().info(f"measuring depth from {self._setup.source_name}")

    def _stop(self) -> None:
        session, self._session = self._session, None
        self._operations.release()
        if session is not None:
            session.stop()
            self.get_logger().info("stopped measuring depth")

    def _release(self) -> None:
        self._stop()
        self._setup = None

    def _autostart(self) -> None:
        """Configure and activate; where the source is not there yet, try again later."""
        timer = self._autostart_timer
        if self._ending:
            timer.cancel()
            return
        if self._setup is None and self.trigger_configure() is not TransitionCallbackReturn.SUCCESS:
            timer.cancel()  # somebody has to correct a parameter or a file first
        elif self._session is not None or self.trigger_activate() is TransitionCallbackReturn.SUCCESS:
            timer.cancel()
        else:
            timer.timer_period_ns = int(min(max(timer.timer_period_ns * 2, 1e9), AUTOSTART_LONGEST_PERIOD_S * 1e9))

    # Parameters

    def _check_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        fixed = [change.name for change in changes if change.name in FIELDS and not rules(change.name).runtime]
        try:
            parameters = read_parameters(self, changes)
            if self._setup is not None:
                if fixed:
                    what = "is read when the node is configured: deactivate and clean up the node first"
                    raise ParameterError(f"{fixed[0]} {what}")
                parameters.require_bin(self._setup.rig.bins.count)
                self._next_setup = self._setup.adopting(parameters)
            self._operations.check(self._depth_parameters, parameters)
        except EdfvError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _adopt_parameters(self, changes: list[Parameter]) -> None:
        self._depth_parameters = read_parameters(self)
        if self._setup is not None:
            self._setup = self._next_setup
        self._operations.adopt(self._depth_parameters)

    # Messages

    def _publish_depth(self, output: DepthOutput) -> None:
        """Called from the pipeline's depth thread."""
        self._topics.publish(output, self._depth_parameters)
        self._recording.on_depth(output)

    def _messages(self, output: DepthOutput) -> SweepMessages | None:
        return self._topics.messages(output, self._depth_parameters)

    def _describe(self, output: DepthOutput) -> str:
        messages = self._messages(output)
        assert messages is not None, "an active node knows its camera"
        return f"stamp {output.sweep.middle_us * 1e-6:.6f} s, depth of {messages.coverage:.0%} of the pixels"

    def _publish_diagnostics(self) -> None:
        status = self._session.status if self._session is not None else None
        message = DiagnosticArray(status=[self._diagnostics.update(self._setup, status, self._problem)])
        recording = self._recording.status
        if recording is not None:
            message.status.append(self._diagnostics.of_recording(recording))
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics_publisher.publish(message)

    def _report(self, error: str) -> None:
        if error != self._problem and not self._ending:  # a retry that fails the same way is not news
            self.get_logger().error(error)
        self._problem = error

    def _report_recovery(self) -> None:
        self._problem = ""
        self.get_logger().info("the source is back: measuring depth again")
