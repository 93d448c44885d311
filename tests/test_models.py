"""The manifest of the shipped networks, and what is said where a file is not as it says."""

import hashlib
import json
from pathlib import Path

import pytest

from edfv_ros import doctor, share
from edfv_ros.depth import models
from edfv_ros.depth.models import load_manifest, shipped_model
from edfv_ros.errors import SourceError

CONTENT = b"a network"


def entry(**changed: object) -> dict[str, object]:
    return {
        "file": "edpn.onnx",
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
        "precision": "int8",
        "bins": 32,
        "candidates": 65,
        "format": 1,
        "provenance": {"steps": 10},
        "validation": {"delta1": 0.9},
        "licence": "Apache-2.0",
        **changed,
    }


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """models/ of a checkout with a network."""
    monkeypatch.setattr(share, "__file__", str(tmp_path / "edfv_ros/share.py"))
    monkeypatch.setattr("sys.prefix", str(tmp_path / "prefix"))
    path = tmp_path / "models"
    path.mkdir()
    (path / "edpn.onnx").write_bytes(CONTENT)
    write(path, entry())
    return path


def write(folder: Path, edpn: dict[str, object], **changed: object) -> None:
    (folder / "manifest.json").write_text(json.dumps({"format": 1, "models": {"edpn": edpn}, **changed}))


def refused(name: str = "edpn") -> str:
    with pytest.raises(SourceError) as caught:
        shipped_model(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_network_that_is_there(folder: Path) -> None:
    shipped = shipped_model("edpn")
    assert shipped.path == folder / "edpn.onnx"
    assert (shipped.entry.precision, shipped.entry.provenance) == ("int8", {"steps": 10})


def test_an_installed_one_is_found(folder: Path, tmp_path: Path) -> None:
    installed = tmp_path / "prefix/share/edfv_ros"
    installed.mkdir(parents=True)
    folder.rename(installed / "models")
    assert shipped_model("edpn").path == installed / "models/edpn.onnx"


def test_without_a_manifest_it_says_where_it_looked(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    message = refused()
    assert str(folder) in message and "edfv export RUN --ship" in message


def test_a_name_that_is_not_in_it(folder: Path) -> None:
    assert "names no network other" in refused("other")


def test_a_file_that_is_missing_or_another(folder: Path) -> None:
    (folder / "edpn.onnx").write_bytes(b"another network")
    message = refused()
    assert hashlib.sha256(b"another network").hexdigest()[:12] in message
    assert hashlib.sha256(CONTENT).hexdigest()[:12] in message
    (folder / "edpn.onnx").unlink()
    assert "edpn.onnx: the shipped network edpn is missing" in refused()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "its format is None, not 1"),
        (json.dumps({"format": 2, "models": {}}), "its format is 2, not 1: update edfv_ros"),
        (json.dumps({"format": 1}), "the key models is missing"),
        (json.dumps({"format": 1, "models": {"edpn": entry(sha256="abc")}}), "models.edpn.sha256 = 'abc'"),
        (json.dumps({"format": 1, "models": {"edpn": entry(file="../edpn.onnx")}}), "models.edpn.file"),
        (json.dumps({"format": 1, "models": {"edpn": entry(precision="int4")}}), "'float32' or 'int8'"),
    ],
)
def test_a_damaged_manifest(content: str, message: str, folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(content)
    with pytest.raises(SourceError) as caught:
        load_manifest(path)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_doctor_shows_it(folder: Path) -> None:
    check = doctor.check_shipped_network()
    assert check.status == "ok" and check.finding.startswith("edpn.onnx, int8, on ")
    (folder / "edpn.onnx").unlink()
    check = doctor.check_shipped_network()
    assert check.status == "missing" and "is missing" in check.finding and "--estimator reversal" in check.advice


def test_what_this_checkout_ships_is_whole() -> None:
    path = Path(models.__file__).parents[2] / "models/manifest.json"
    if not path.exists():
        pytest.skip("this checkout ships no network")
    for name in load_manifest(path).models:
        assert shipped_model(name).path.parent == path.parent
