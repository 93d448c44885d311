"""The rig file: what is valid loads, what is not gets one line that names key, value and what is allowed."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from edfv_ros.errors import RigError
from edfv_ros.rig import load_rig

EXAMPLE = Path(__file__).parents[1] / "config" / "rig.yaml"
CONTRACT = Path(__file__).parents[2] / "shared" / "contracts" / "rig.yaml"


@pytest.fixture
def example() -> dict[str, Any]:
    return yaml.safe_load(EXAMPLE.read_text())


def write(tmp_path: Path, data: Any) -> Path:
    path = tmp_path / "rig.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def test_example_loads() -> None:
    rig = load_rig(EXAMPLE)
    assert rig.camera.resolution == (346, 260)
    assert rig.camera.optical_frame == "davis0_optical_frame"
    assert rig.optics.blur_slope_px_per_dpt == pytest.approx(8e-3 * 16e-3 / 18.5e-6)
    assert rig.bins.width_dpt == pytest.approx(3.9 / 32)
    assert rig.sweep.duration_us == pytest.approx(1e5)


@pytest.mark.skipif(not CONTRACT.exists(), reason="the shared contract is not beside this checkout")
def test_contract_loads() -> None:
    assert load_rig(CONTRACT) == load_rig(EXAMPLE)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda d: d["camera"].pop("width_px"), "the key camera.width_px is missing"),
        (lambda d: d["lens"].pop("port"), "the key lens.port is missing"),
        (lambda d: d.pop("volume"), "the key volume is missing"),
        (lambda d: d["lens"].update(breathing={"scale": [1.0, 1.0]}), "the key lens.breathing.vergence_dpt is missing"),
        (lambda d: d["camera"].update(widht_px=3), "unknown key camera.widht_px: did you mean width_px?"),
        (lambda d: d.update(colour="red"), "unknown key colour; allowed here: camera, lens, sweep, volume"),
        (lambda d: d["camera"].update(width_px="346"), "camera.width_px = '346': input should be a valid integer"),
        (
            lambda d: d["lens"].update(aperture_mm=-8.0),
            "lens.aperture_mm = -8.0: input should be greater than or equal to 0.01",
        ),
        (lambda d: d["lens"].update(aperture_mm=1e-320), "lens.aperture_mm = 1e-320: input should be greater than"),
        (lambda d: d["lens"].update(aperture_mm=150.0), "blurs a point to 506 px, wider than the sensor (346 px)"),
        (lambda d: d["lens"].update(aperture_mm=True), "lens.aperture_mm = True: input should be a valid number"),
        (lambda d: d["lens"]["calibration"].update(control=[1.0, 0.0]), "control must be strictly increasing"),
        (lambda d: d["lens"]["calibration"].update(control=[0.0, 0.5, 1.0]), "has 2 values, but control has 3"),
        (lambda d: d["lens"]["calibration"].update(vergence_up_dpt=[1.0, 1.0]), "must rise or fall strictly"),
        (lambda d: d["sweep"].update(vergence_max_dpt=5.0), "sweep.vergence_max_dpt = 5 lies outside the lens calib"),
        (lambda d: d["sweep"].update(vergence_min_dpt=4.2, vergence_max_dpt=0.3), "are they swapped?"),
        (lambda d: d["sweep"].update(waveform="square"), "input should be 'triangle', 'sine' or 'sawtooth'"),
        (lambda d: d["sweep"].update(frequency_hz=float("nan")), "sweep.frequency_hz = nan: input should be a finite"),
        (lambda d: d["camera"]["intrinsics"].update(cx_px=900.0), "intrinsics.cx_px = 900 must lie on the sensor"),
        (lambda d: d["camera"].update(name="my camera"), "camera.name = 'my camera': use a letter, then letters"),
        (lambda d: d["camera"].update(intrinsics=3), "camera.intrinsics = 3: a group of keys must stand here"),
        (lambda d: d["camera"]["intrinsics"].update(distortion=[0.0]), "distortion = [0.0]: give at least 5 values"),
        (lambda d: d["lens"]["calibration"].update(control=0.5), "control = 0.5: a list of numbers must stand here"),
        (lambda d: d["lens"].update(driver="canon"), "lens.driver = 'canon'"),
        (lambda d: d.update(volume={"bins": 2}), "volume.bins = 2: input should be greater than or equal to 4"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, example: dict[str, Any], change: Any, expected: str) -> None:
    data = copy.deepcopy(example)
    change(data)
    path = write(tmp_path, data)
    with pytest.raises(RigError) as caught:
        load_rig(path)
    message = str(caught.value)
    assert expected in message
    assert str(path) in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "a rig file is a mapping"),
        (b"- 1\n- 2\n", "a rig file is a mapping"),
        (b"camera: [unclosed", "not valid YAML"),
        (b"\x80\x81\x82", "not UTF-8"),
        (b"camera: 1\ncamera: 2\n", "key 'camera' is given twice"),
        (b"? [1, 2]\n: 3\n", "not valid YAML"),
        (b"a: !!python/object:os.system x\n", "not valid YAML"),
        (b"\x00", "not valid YAML"),
        (b"[" * 3000, "nested too deeply"),
        (b"{a: " * 3000, "nested too deeply"),
    ],
)
def test_foreign_files(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "rig.yaml"
    path.write_bytes(content)
    with pytest.raises(RigError, match=expected) as caught:
        load_rig(path)
    assert "\n" not in str(caught.value)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(RigError, match="no such rig file"):
        load_rig(tmp_path / "absent.yaml")
    with pytest.raises(RigError, match="cannot read this rig file"):
        load_rig(tmp_path)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
values = scalars | st.lists(scalars, max_size=4) | st.dictionaries(st.text(max_size=8), scalars, max_size=3)


@given(data=st.data())
def test_random_rigs_never_trace(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Any value at any key either loads or is one line."""
    rig = yaml.safe_load(EXAMPLE.read_text())
    part = rig[data.draw(st.sampled_from(sorted(rig)))]
    part[data.draw(st.sampled_from(sorted(part)) | st.text(max_size=8))] = data.draw(values)
    path = tmp_path_factory.mktemp("rig") / "rig.yaml"
    path.write_text(yaml.safe_dump(rig))
    try:
        load_rig(path)
    except RigError as error:
        assert "\n" not in str(error)
