"""Children that end when they are told to."""

import signal
import subprocess


def stop_process(process: subprocess.Popen[bytes], by: signal.Signals, timeout_s: float = 5.0) -> None:
    """Send a signal, wait, kill what is still there, and close the pipe from its stdout."""
    process.send_signal(by)
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
