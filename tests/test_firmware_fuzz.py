"""The firmware's own parser, compiled for this computer with sanitizers, under a million inputs."""

import subprocess

import firmware_build


def test_a_million_inputs_do_no_harm() -> None:
    program = firmware_build.make("host") / "fuzz"
    done = subprocess.run([program, "1000000"], capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("1000000 inputs")
