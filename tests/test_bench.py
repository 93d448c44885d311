import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from edfv_ros.bench.__main__ import groups, main
from edfv_ros.bench.event_path import by_add_at, by_bincount
from edfv_ros.bench.made_up import random_events, rig_of, track_of
from edfv_ros.bench.profile import Capability, in_words
from edfv_ros.bench.stages import STAGES
from edfv_ros.cli import app
from edfv_ros.events.types import timestamps_us
from edfv_ros.volume import VolumeRing

LIVE = ["events-346x260", "growth", "sweep-346x260", "latency-346x260"]
OFFLINE = ["crops", "sweeps", "networks"]


def test_the_way_of_the_data_is_measured_stage_by_stage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bench.json"
    assert main([*LIVE, "--quick", "--json", str(file)]) == 0
    printed = capsys.readouterr().out
    told = {group["name"]: group for group in json.loads(file.read_text())["groups"]}
    assert list(told) == LIVE
    for group in told.values():
        assert group["title"] in printed and group["reference"]
        for row in group["rows"]:
            assert row["name"] in printed and row["value"] >= 0
            assert (row["ratio"] is None) == (row["unit"] in ("", "1/s", "MiB")) and row["ratio"] != 0
    latency = {row["name"].strip(): row["value"] for row in told["latency-346x260"]["rows"]}
    assert latency["whole sweeps"] >= 1 and latency["last event to depth, median"] >= latency["of it: estimator"]
    assert file.with_suffix(".png").read_bytes().startswith(b"\x89PNG")

    growth = [{**row, "ratio": 777.0} for row in told["growth"]["rows"]]
    file.write_text(json.dumps({"groups": [{"name": "growth", "rows": growth[1:]}]}))
    assert main(["growth", "--quick", "--compare", str(file)]) == 0
    assert "was" in (again := capsys.readouterr().out) and again.count("777") == len(growth) - 1


def test_other_ways_to_count_count_the_same() -> None:
    """What the kernel is compared with does the same work."""
    rig = rig_of(64, 48)
    events = random_events(rig, 20_000, 2)
    ring = VolumeRing(rig.bins, rig.camera.resolution)
    for sweep in track_of(rig, 2).sweeps(rig.bins):
        ring.open(sweep)
        ring.accumulate(events)
        volume = ring.close()
        assert not volume.hot_pixels
        edges = np.searchsorted(timestamps_us(events), sweep.bin_edge_times_us(rig.bins))
        of_sweep = events[edges[0] : edges[-1]]
        for count in (by_bincount, by_add_at):
            counts = count(rig, of_sweep, edges - edges[0], sweep.direction)
            np.testing.assert_array_equal(counts, volume.counts.reshape(-1))


def test_every_group_offline_measures_its_stages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="the published architecture is made by torch")
    file = tmp_path / "bench.json"
    assert {*LIVE, *OFFLINE} <= set(groups(gpu=False))
    assert main([*OFFLINE, "--quick", "--json", str(file)]) == 0
    printed = capsys.readouterr().out
    told = json.loads(file.read_text())
    assert told["machine"]["processors"] >= 1
    assert [group["name"] for group in told["groups"]] == OFFLINE
    simulated = [group for group in told["groups"] if group["name"] in ("crops", "sweeps")]
    for group, one in zip(simulated, ("a crop", "a sweep"), strict=True):
        rows = {row["name"].strip(): row for row in group["rows"]}
        assert all(name in printed for name in rows)
        stages = [rows[stage]["value"] for stage in STAGES]
        assert all(value > 0 for value in stages)
        assert 0.5 * rows[one]["value"] < sum(stages) <= rows[one]["value"]
        assert rows[one]["ratio"] > 0

    networks = {row["name"]: row for row in told["groups"][-1]["rows"]}
    assert networks["edpn, times faster than the published one"]["value"] > 1.0
    assert 0 < networks["edpn, file"]["value"] <= 16.0


def test_a_wrong_group_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["speed"])
    assert end.value.code == 2 and "choose from events-346x260, " in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_said_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["--quick", "--json", str(tmp_path / "file" / "bench.json")]) == 2
    assert "file is in the way" in capsys.readouterr().err


def test_what_is_no_earlier_result_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other.json").write_text("[1, 2]")
    for name, words in (("missing.json", "No such file"), ("other.json", "no result of the benchmark")):
        assert main(["growth", "--quick", "--compare", str(tmp_path / name)]) == 2
        assert words in capsys.readouterr().err


def test_a_gpu_that_is_not_there_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed (extra 'gpu')")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert main(["events-346x260", "--quick", "--gpu"]) == 2
    assert "no CUDA device" in capsys.readouterr().err


def test_a_profile_says_what_is_possible() -> None:
    """Known figures in, sentences out."""
    slow = Capability(346, 260, "edpn", depth_hz=2.0, latency_ms=400.0, memory_mib=300.0, events_per_s=5e7)
    fast = Capability(346, 260, "edpn", depth_hz=12.0, latency_ms=66.7, memory_mib=300.0, events_per_s=2e8)
    large = Capability(1280, 720, "edpn", depth_hz=1.0, latency_ms=800.0, memory_mib=900.0, events_per_s=1e8)
    told = "\n".join(in_words([fast, large]))
    assert "346 x 260), estimator edpn: up to 12 depth images a second, 67 ms" in told
    assert "200 million events a second" in told and "sweep.frequency_hz 6 in the rig file" in told
    assert "below 5 depth images a second even at 346 x 260: set sweep.frequency_hz to 1" in "\n".join(in_words([slow]))


def test_the_command_measures_and_says_it() -> None:
    told = CliRunner().invoke(app, ["bench", "--profile", "--quick"])
    assert told.exit_code == 0 and "estimator reversal: up to" in told.output
    assert CliRunner().invoke(app, ["bench", "no_such_group"]).exit_code == 2
