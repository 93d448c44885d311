"""Which files an estimator takes beside the rig, and what users are told who give others."""

import threading
from contextlib import ExitStack
from pathlib import Path

import pytest
from recordings import small_rig, write_rig, write_small_recording
from test_cli_basics import edfv

from edfv_ros.depth import (
    ESTIMATORS,
    DepthEstimator,
    EstimatorKind,
    Need,
    check_estimator,
    check_streams,
    open_estimator,
)
from edfv_ros.depth.reversal import PolarityReversal
from edfv_ros.errors import EdfvError, SourceError
from edfv_ros.evaluation.reliability import main as reliability
from edfv_ros.nodes.depth_setup import prepare
from edfv_ros.nodes.parameters import DepthParameters
from edfv_ros.rig import Rig
from edfv_ros.running_recording import RunningRecording

PRIOR, MODEL = Path("prior.yaml"), Path("net.onnx")
Given = tuple[Path | None, Path | None]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Given]:
    """Three more estimators; the files that each of them was made from, in turn."""
    made: list[Given] = []

    def make(rig: Rig, prior: Path | None, model: Path | None) -> DepthEstimator:
        made.append((prior, model))
        return PolarityReversal(rig.optics, rig.bins)

    for name, prior, model in (
        ("wants_both", Need.NEEDED, Need.NEEDED),
        ("takes_both", Need.OPTIONAL, Need.OPTIONAL),
        ("wants_model", Need.NONE, Need.NEEDED),
    ):
        monkeypatch.setitem(ESTIMATORS, name, EstimatorKind(make, prior, model))
    return made


@pytest.mark.parametrize(
    ("name", "prior", "model"),
    [
        ("takes_both", None, None),
        ("takes_both", PRIOR, None),
        ("takes_both", None, MODEL),
        ("takes_both", PRIOR, MODEL),
        ("wants_both", PRIOR, MODEL),
        ("wants_model", None, MODEL),
    ],
)
def test_each_file_reaches_its_place(made: list[Given], name: str, prior: Path | None, model: Path | None) -> None:
    open_estimator(name, small_rig(32, 24), prior=prior, model=model)
    assert made == [(prior, model)]


@pytest.mark.parametrize(
    ("name", "prior", "model", "message"),
    [
        ("wants_both", None, MODEL, "the estimator wants_both needs a prior: give a file such as config/prior_"),
        ("wants_both", PRIOR, None, "the estimator wants_both needs a model: give an ONNX file such as `edfv model "),
        ("wants_model", None, None, "the estimator wants_model needs a model: "),
        ("wants_model", PRIOR, MODEL, "the estimator wants_model uses no prior, but prior.yaml was given: leave it "),
        (
            "reversal",
            None,
            MODEL,
            "the estimator reversal uses no model, but net.onnx was given: leave it out, or use ",
        ),
        ("magic", PRIOR, MODEL, "no estimator is called 'magic'; choose from: "),
    ],
)
def test_a_wrong_choice_of_files_is_one_line(
    made: list[Given], name: str, prior: Path | None, model: Path | None, message: str
) -> None:
    with pytest.raises(EdfvError) as caught:
        open_estimator(name, small_rig(32, 24), prior=prior, model=model)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)
    assert not made


def test_who_takes_a_file_is_told(made: list[Given]) -> None:
    with pytest.raises(EdfvError) as caught:
        check_estimator("reversal", None, MODEL)
    users = str(caught.value).partition("or use ")[2].split(" or ")
    assert {"wants_both", "takes_both", "wants_model"} <= set(users)
    assert not {"reversal", "aligned_prior"} & set(users)


def test_frames_are_needed_where_a_prior_is_used(made: list[Given]) -> None:
    check_streams("takes_both", ("events",), "camera")
    check_streams("takes_both", ("events", "frames"), "camera", prior=PRIOR)
    with pytest.raises(SourceError, match=r"^camera: it has no frames, which the prior prior\.yaml needs: leave the"):
        check_streams("takes_both", ("events",), "camera", prior=PRIOR)


# Where users meet them


def test_the_command_line_hands_the_model_on(made: list[Given], tmp_path: Path) -> None:
    recording = write_small_recording(tmp_path / "sweep")
    run = ("run", recording, "--out", tmp_path / "out", "--estimator")
    assert edfv(*run, "wants_model", "--model", MODEL)[0] == 0
    assert made == [(None, MODEL)]
    code, out, error = edfv(*run, "reversal", "--model", MODEL, "--overwrite")
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert error.startswith("edfv: the estimator reversal uses no model, but net.onnx was given")


def test_the_node_hands_the_files_on(made: list[Given], tmp_path: Path) -> None:
    rig = str(write_rig(small_rig(32, 24), tmp_path / "rig.yaml"))
    values = {"source": "network", "path": "tcp://127.0.0.1:9", "rig": rig, "prior": "~/p.yaml", "model": "~/n.onnx"}
    prepare(DepthParameters(**values, estimator="takes_both"))
    assert made == [(Path.home() / "p.yaml", Path.home() / "n.onnx")]
    with pytest.raises(EdfvError, match=r"^the estimator reversal uses no prior, but .*p\.yaml was given"):
        prepare(DepthParameters(**values, estimator="reversal"))
    with pytest.raises(EdfvError, match=r"^the estimator wants_model needs a model"):
        prepare(DepthParameters(**{**values, "prior": "", "model": ""}, estimator="wants_model"))


def test_the_node_reports_a_source_without_the_frames_that_a_prior_needs(made: list[Given], tmp_path: Path) -> None:
    recording = write_small_recording(tmp_path / "sweep")
    values = {"source": "file", "path": str(recording), "estimator": "takes_both", "prior": "prior.yaml"}
    with ExitStack() as stack:
        setup = prepare(DepthParameters(**values))
        devices = setup.open_devices(RunningRecording(print), stack, threading.Event())
        pipeline = devices.make_pipeline(setup.parameters, lambda output: None)
        pipeline.start()
        assert pipeline.wait(20.0)
        error = pipeline.statistics().error
    assert error is not None and error.endswith("no frames, which the prior prior.yaml needs: leave the prior out")


def test_reliability_hands_the_files_on(made: list[Given], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recording = str(write_small_recording(tmp_path / "sweep"))
    assert reliability([recording, "--estimator", "wants_model", "--model", "net.onnx"]) == 0
    assert made == [(None, MODEL)]
    assert reliability([recording, "--estimator", "takes_both", "--prior", "prior.yaml"]) == 2
    assert "it has no frames, which the prior prior.yaml needs" in capsys.readouterr().err
