"""The messages of one sweep, each made when it is asked for; what several of them share is made once."""

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, Image, JointState, PointCloud2

from edfv_ros.nodes import messages
from edfv_ros.nodes.parameters import DepthParameters
from edfv_ros.outputs.cloud import cloud_points
from edfv_ros.rig import Camera
from edfv_ros.volume.pictures import event_picture, volume_slice

if TYPE_CHECKING:
    from edfv_ros.pipeline import DepthOutput


class SweepMessages:
    """What a sweep gave, as messages. All but the lens state carry one stamp, the middle of the sweep.

    It is to be used while the output's snapshot is good, that is within ``on_depth``.

    Args:
        output: the sweep.
        camera: whose intrinsics and frames the messages carry.
        rays: float32 [H, W, 3] from :func:`edfv_ros.rig.rays.pixel_rays`.
        parameters: limits, encoding and options, taken as they are for all messages of the sweep.
    """

    def __init__(
        self, output: "DepthOutput", camera: Camera, rays: NDArray[np.float32], parameters: DepthParameters
    ) -> None:
        self._output = output
        self._camera = camera
        self._rays = rays
        self._parameters = parameters
        self._header = messages.header(output.sweep.middle_us, camera.optical_frame)

    def depth(self) -> Image:
        """Limited as the parameters say, in the encoding that they name."""
        if self._parameters.depth_encoding == "16UC1":
            return messages.millimetre_image(self._header, self._depth_m)
        return messages.float_image(self._header, self._depth_m)

    @property
    def coverage(self) -> float:
        """Part of the pixels with a finite depth, 0 to 1."""
        return float(np.isfinite(self._depth_m).mean())

    def camera_info(self) -> CameraInfo:
        return messages.camera_info(self._header, self._camera)

    def points(self) -> PointCloud2:
        """Of the pixels whose depth is within the limits; intensity is the guide's, or the number of events."""
        output, parameters = self._output, self._parameters
        frame = output.frame
        points = cloud_points(
            self._depth_m,
            self._rays,
            output.snapshot.event_count() if frame is None else frame.image,
            output.estimate.confidence,
            output.estimate.sigma_m,
            stride=parameters.points_stride,
            organised=parameters.points_organised,
        )
        return messages.point_cloud(self._header, points)

    def confidence(self) -> Image:
        return messages.float_image(self._header, self._output.estimate.confidence)

    def uncertainty(self) -> Image:
        """Standard deviation of depth in metres, NaN where depth is not finite."""
        known = np.isfinite(self._depth_m)
        return messages.float_image(self._header, np.where(known, self._output.estimate.sigma_m, np.float32(np.nan)))

    def guide(self) -> Image | None:
        """The camera's frame; None where it has none of this sweep."""
        frame = self._output.frame
        return None if frame is None else messages.mono_image(self._header, frame.image)

    def event_image(self) -> Image:
        return messages.colour_image(self._header, event_picture(self._output.snapshot.latest))

    def volume_slice(self) -> Image:
        """32FC1, since viewers take the signed 16SC1 for unsigned."""
        counts = volume_slice(self._output.snapshot.latest, self._parameters.volume_slice_bin)
        return messages.float_image(self._header, counts)

    def lens_state(self) -> JointState:
        """The turning point that ended the sweep, stamped with its moment."""
        sweep = self._output.sweep
        return messages.lens_state(messages.header(sweep.end_us, self._camera.link_frame), sweep)

    @cached_property
    def _depth_m(self) -> NDArray[np.float32]:
        estimate, parameters = self._output.estimate, self._parameters
        return messages.limited_depth(
            estimate.depth_m,
            estimate.confidence,
            threshold=parameters.confidence_threshold,
            near_m=parameters.near_m,
            far_m=parameters.far_m,
        )
