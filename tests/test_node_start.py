"""The command depth_node from its first moments on."""

import signal
import subprocess
import sys

import pytest

LOADING = """
import sys, time
from edfv_ros.nodes import start

class Slow:
    def find_spec(self, name, *_):
        if name == "edfv_ros.nodes.depth_node":
            print("loading", flush=True)
            time.sleep(120)

sys.meta_path.insert(0, Slow())
sys.exit(start.main())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_modules_load_ends_it_without_a_word(number):
    with subprocess.Popen([sys.executable, "-c", LOADING], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"loading\n"
            process.send_signal(number)
            out, complaints = process.communicate(timeout=30)
        finally:
            process.kill()
    assert (process.returncode, out, complaints) == (0, b"", b"")


def test_nothing_heavy_is_loaded_before_signals_are_handled():
    code = "import sys, edfv_ros.nodes.start; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numpy", "numba", "rclpy", "cv2", "yaml", "pydantic"} & set(loaded)


def test_help_needs_no_ros():
    code = "import sys; sys.modules['rclpy'] = None; sys.argv[1:] = ['--help']; import edfv_ros.nodes.start as start"
    done = subprocess.run([sys.executable, "-c", f"{code}; sys.exit(start.main())"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.startswith("usage: depth_node") and "confidence_threshold" in done.stdout
