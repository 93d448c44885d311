"""The services of the depth node: each answers when it is done, and other callbacks run meanwhile."""

from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from std_srvs.srv import SetBool, Trigger

from edfv_ros.doctor import Check
from edfv_ros.errors import EdfvError
from edfv_ros.nodes.background import Background
from edfv_ros.nodes.operations import DepthOperations
from edfv_ros.pipeline import DepthOutput

Answer = tuple[bool, str]


class DepthServices:
    """Makes ``~/sweep``, ``~/single_shot``, ``~/park``, ``~/reset``, ``~/self_test`` and ``~/record``.

    Args:
        node: whose services they are.
        background: of the node.
        operations: what they do.
        describe: of an image that was published, for the answer.
    """

    def __init__(
        self, node: Node, background: Background, operations: DepthOperations, describe: Callable[[DepthOutput], str]
    ) -> None:
        self._node = node
        self._background = background
        switches = {"sweep": operations.sweep, "record": operations.record}
        triggers: dict[str, Callable[[], Answer]] = {
            "single_shot": lambda: (True, describe(operations.take_image())),
            "park": lambda: (True, operations.sweep(False)),
            "reset": lambda: (True, operations.reset()),
            "self_test": lambda: _summary(operations.test()),
        }
        group = ReentrantCallbackGroup()  # an answer that is awaited must not keep others waiting
        for name, switch in switches.items():
            node.create_service(SetBool, f"~/{name}", partial(self._switch, name, switch), callback_group=group)
        for name, trigger in triggers.items():
            node.create_service(Trigger, f"~/{name}", partial(self._trigger, name, trigger), callback_group=group)

    async def _switch(
        self, name: str, switch: Callable[[bool], str], request: SetBool.Request, response: SetBool.Response
    ) -> SetBool.Response:
        return await self._answer(name, lambda: (True, switch(request.data)), response)

    async def _trigger(
        self, name: str, trigger: Callable[[], Answer], request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        return await self._answer(name, trigger, response)

    async def _answer(self, name: str, work: Callable[[], Answer], response: Any) -> Any:
        logger = self._node.get_logger()
        try:
            response.success, response.message = await self._background.run(work)
        except EdfvError as error:
            response.success, response.message = False, str(error)
        except Exception as error:  # rclpy would end the node
            response.success, response.message = False, f"unexpected {type(error).__name__}: {error}"
            logger.error(response.message)
        # Who asked has the answer; the log is for those who wonder later why the lens stood still.
        if response.success:
            logger.info(f"{name}: {response.message}")
        else:
            logger.warning(f"{name}: {response.message}")
        return response


def _summary(checks: list[Check]) -> Answer:
    """Whether all that there is works, and one line a check."""
    words = {"ok": "pass", "missing": "none", "broken": "FAIL"}
    lines = [f"{words[check.status]} {check.name}: {check.finding}" for check in checks]
    for index, check in enumerate(checks):
        lines[index] += f" ({check.advice})" if check.advice else ""
    return all(check.status != "broken" for check in checks), "\n".join(lines)
