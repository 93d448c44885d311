"""A process that makes training samples for another one, one at a time, and ends when that does.

It reads a :class:`~edfv_ros.simulation.crop_pool.Request` from a socket and answers with a sample or what went wrong.
"""

import sys
import traceback
from multiprocessing.connection import Connection


def main() -> int:
    """Answer requests that come by the socket whose number is the only argument."""
    connection = Connection(int(sys.argv[1]))
    import cv2

    from edfv_ros.errors import EdfvError
    from edfv_ros.simulation.crop_pool import BUG, ERROR, SAMPLE, Request
    from edfv_ros.simulation.crops import make_crop
    from edfv_ros.simulation.sample_codec import encode

    cv2.setNumThreads(1)
    try:
        while True:
            request = Request.model_validate_json(connection.recv_bytes())
            try:
                sample = make_crop(request.seed, request.resolution, request.domain, request.split)
                reply = SAMPLE + encode(sample)
            except EdfvError as error:
                reply = ERROR + str(error).encode()
            except Exception:
                reply = BUG + traceback.format_exc().encode()
            connection.send_bytes(reply)
    except (EOFError, ConnectionError):  # nobody wants more
        return 0
