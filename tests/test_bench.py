import json
from pathlib import Path

import pytest

from edfv_ros.bench.__main__ import GROUPS, main
from edfv_ros.bench.stages import STAGES


def test_every_group_measures_its_stages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="the published architecture is made by torch")
    file = tmp_path / "bench.json"
    assert main(["--quick", "--json", str(file)]) == 0
    printed = capsys.readouterr().out
    told = json.loads(file.read_text())
    assert told["machine"]["processors"] >= 1
    assert [group["name"] for group in told["groups"]] == list(GROUPS)
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
    assert end.value.code == 2 and "choose from crops, sweeps, networks" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_said_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["--quick", "--json", str(tmp_path / "file" / "bench.json")]) == 2
    assert "file is in the way" in capsys.readouterr().err
