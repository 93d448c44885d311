"""The networks that can be trained, each with what the training has to know of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from torch import nn

from edfv_ros.depth.edpn_inputs import Guide
from edfv_ros.training.edpn.drawing import Batch
from edfv_ros.training.edpn.losses import Losses, losses
from edfv_ros.training.edpn.network import WIDTHS, Edpn, EdpnOutput, Prediction
from edfv_ros.training.network_names import NetworkName
from edfv_ros.training.peers import event_stack
from edfv_ros.training.peers.event_stack import EventStackNetwork, event_stack_losses
from edfv_ros.training.peers.published import PublishedPeer, published_losses, published_prediction


@dataclass(frozen=True, slots=True)
class NetworkKind:
    """How a kind of network is made, fed, taught and read.

    Attributes:
        make: a network with new weights, from the channels at each scale.
        inputs: fields or properties of a :class:`~edfv_ros.training.edpn.drawing.Batch` that it takes, in its order.
        losses: of what it returns, for a batch.
        read: position and scale from what it returns; to be scored and drawn.
        usual: settings that are its own, where none are given.
        in_mosaics: whether it learns from several crops in one picture, see :mod:`~edfv_ros.training.edpn.mosaic`.
    """

    make: Callable[[tuple[int, ...]], nn.Module]
    inputs: tuple[str, ...]
    losses: Callable[[Any, Batch], Losses]
    read: Callable[[Any], Prediction]
    usual: Mapping[str, Any]
    in_mosaics: bool = False


def _edpn_losses(output: EdpnOutput, batch: Batch) -> Losses:
    return losses(output.prediction, batch.position_bins, batch.far_bins, batch.guide[:, Guide.SAME])


def _edpn_prediction(output: EdpnOutput) -> Prediction:
    return output.prediction


def _as_it_is(prediction: Prediction) -> Prediction:
    return prediction


NETWORKS: Mapping[NetworkName, NetworkKind] = MappingProxyType(
    {
        "edpn": NetworkKind(
            make=Edpn,
            inputs=("score", "cells", "guide", "conditions"),
            losses=_edpn_losses,
            read=_edpn_prediction,
            usual={"rate": 2e-3, "weight_decay": 0.01, "widths": WIDTHS},
            in_mosaics=True,
        ),
        "published": NetworkKind(
            make=lambda widths: PublishedPeer(),
            inputs=("volume", "guide"),
            losses=published_losses,
            read=published_prediction,
            usual={"rate": 3e-4, "weight_decay": 1e-5, "widths": ()},  # as its authors train it
        ),
        "event_stack": NetworkKind(
            make=EventStackNetwork,
            inputs=("volume",),
            losses=event_stack_losses,
            read=_as_it_is,
            usual={"rate": 2e-3, "weight_decay": 0.01, "widths": event_stack.WIDTHS},
        ),
    }
)
"""By the name that users give."""
