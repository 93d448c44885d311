"""The rig's sweep narrowed to a region."""

import pytest
from recordings import RIG_FILE

from edfv_ros.errors import RigError
from edfv_ros.rig import load_rig
from edfv_ros.rig.region import SweepSettings


@pytest.fixture(scope="module")
def rig():
    """Sweeps 0.3 to 4.2 dpt, all that its lens is calibrated for, at 5 Hz in 32 bins."""
    return load_rig(RIG_FILE)


def test_without_settings_the_rig_stays_as_it_is(rig):
    assert SweepSettings().applied_to(rig) is rig


def test_a_region_is_divided_into_as_many_bins(rig):
    narrow = SweepSettings(near_m=0.5, far_m=1.0).applied_to(rig)
    assert (narrow.bins.min_dpt, narrow.bins.max_dpt) == (1.0, 2.0)
    assert narrow.bins.count == 32 and narrow.bins.width_dpt == pytest.approx(1.0 / 32)
    assert narrow.sweep.frequency_hz == 5.0
    assert rig.bins.max_dpt == 4.2, "the rig itself is not changed"


def test_one_end_may_stay_the_rigs(rig):
    near, far = SweepSettings(near_m=0.5).applied_to(rig), SweepSettings(far_m=1.0).applied_to(rig)
    assert (near.bins.min_dpt, near.bins.max_dpt) == (0.3, 2.0)
    assert (far.bins.min_dpt, far.bins.max_dpt) == (1.0, 4.2)


def test_another_frequency_changes_only_that(rig):
    fast = SweepSettings(frequency_hz=8.0).applied_to(rig)
    assert fast.sweep.frequency_hz == 8.0 and fast.sweep.duration_us == pytest.approx(62_500)
    assert fast.bins == rig.bins


def test_a_rounded_end_of_the_lens_is_its_end(rig):
    assert SweepSettings(near_m=0.238, far_m=3.33).applied_to(rig).bins.max_dpt == 4.2  # 1 / 4.2 = 0.23810


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (SweepSettings(near_m=0.2), "the region 0.2 to 3.33 m is not within what the lens is calibrated for, 0.238 to"),
        (SweepSettings(far_m=10.0), "is not within what the lens is calibrated for, 0.238 to 3.33 m"),
        (SweepSettings(near_m=4.0), "the region 4 to 3.33 m is empty"),
        (SweepSettings(near_m=1.0, far_m=1.1), r"spans 0.091 dpt, too little .* make it 0.58 dpt or more"),
    ],
)
def test_what_the_lens_cannot_focus_at_is_refused(rig, settings, reason):
    with pytest.raises(RigError, match=reason) as error:
        settings.applied_to(rig)
    assert "\n" not in str(error.value)


def test_a_sweep_that_nobody_would_wait_for_is_refused(rig):
    with pytest.raises(RigError, match=r"0\.001 Hz is too slow: 0\.01 Hz or more, or 0 for the rig's"):
        SweepSettings(frequency_hz=0.001).applied_to(rig)
    assert SweepSettings(frequency_hz=0.01).applied_to(rig).sweep.frequency_hz == 0.01
