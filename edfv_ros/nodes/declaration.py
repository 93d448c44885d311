"""The parameter table as rclpy wants it."""

from collections.abc import Iterable

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from edfv_ros.nodes.parameters import FIELDS, DepthParameters, ParameterError, default, rules


def declare_parameters(node: Node) -> None:
    """Declare every parameter of the table, with description, range and choices.

    Raises:
        ParameterError: a value given at start is of the wrong type or out of range.
    """
    for name, field in FIELDS.items():
        try:
            node.declare_parameter(name, field.default, descriptor(name))
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            raise ParameterError(" ".join(str(error).split())) from None


def descriptor(name: str) -> ParameterDescriptor:
    """What `ros2 param describe` shows of a parameter."""
    rule = rules(name)
    when = "Takes effect with the next sweep." if rule.runtime else "Read when the node is configured."
    message = ParameterDescriptor(description=f"{rule.description} {when}")
    if rule.choices:
        message.additional_constraints = f"One of: {rule.allowed}"
    if rule.minimum is not None and rule.maximum is not None:
        if isinstance(default(name), int):
            limits = IntegerRange(from_value=int(rule.minimum), to_value=int(rule.maximum), step=1)
            message.integer_range = [limits]
        else:
            message.floating_point_range = [FloatingPointRange(from_value=rule.minimum, to_value=rule.maximum)]
    return message


def read_parameters(node: Node, changes: Iterable[Parameter] = ()) -> DepthParameters:
    """The node's parameters, checked, as they are or as they would be after ``changes``.

    Raises:
        ParameterError: a value is not allowed, or contradicts another.
    """
    values = {name: node.get_parameter(name).value for name in FIELDS}
    values.update((change.name, change.value) for change in changes if change.name in FIELDS)
    return DepthParameters.from_values(values)
