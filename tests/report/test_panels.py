import numpy as np
import pytest
import torch

from livecam.report.drawing.colormap import apply_colormap
from livecam.report.drawing.panels import Panel, outline, overlay, signed_display, strip, to_uint8, unsigned_display
from livecam.report.drawing.strips import Sample, printed_names, samples_of
from livecam.report.tables import score_rows


class Method:
    signed = False
    clip_fraction = 0.0

    def __init__(self, name, label):
        self.name, self.label = name, label


class Explained:
    def __init__(self, maps, target=(0, 1), predicted=(0, 0)):
        self.map = self.raw = maps
        self.target, self.predicted = torch.tensor(target), torch.tensor(predicted)
        self.probability = torch.tensor([0.9, 0.25])
        self.degenerate = torch.tensor([False, True])


def luminance(colors):
    return colors @ np.array([0.2126, 0.7152, 0.0722])


def test_evidence_gets_lighter_steadily_and_never_near_white():
    ramp = apply_colormap(torch.linspace(0, 1, 101)[None, None])[0, :, 0].T.numpy()
    assert (np.diff(luminance(ramp)) > 0).all()
    assert ramp.min() >= 0 and ramp.max() <= 1 and ramp[-1].min() < 0.3


def test_diverging_scale_is_neutral_at_zero_and_told_apart_at_both_ends():
    low, middle, high = apply_colormap(torch.tensor([[[0.0, 0.5, 1.0]]]), signed=True)[0, :, 0].T.numpy()
    assert np.ptp(middle) < 0.01 and low[2] > low[0] and high[0] > high[2]


def test_overlay_is_gray_where_there_is_no_evidence():
    pixels = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    found = overlay(pixels, torch.zeros(1, 8, 8))[0]
    assert float((found.amax(0) - found.amin(0)).max()) < 0.01
    strong = overlay(pixels, torch.ones(1, 8, 8))[0]
    assert float((strong[0] - strong[2]).min()) > 0.5


def test_ground_truth_dims_the_outside_only():
    pixels, mask = torch.full((3, 4, 4), 0.8), torch.zeros(4, 4, dtype=torch.bool)
    mask[1:3, 1:3] = True
    shown = outline(pixels, mask)
    assert torch.equal(shown[:, mask], pixels[:, mask]) and float(shown[:, ~mask].max()) == pytest.approx(0.2)


def test_uint8_rounds_and_clips():
    picture = to_uint8(torch.tensor([-1.0, 0.5, 2.0])[:, None, None])
    assert picture.dtype == np.uint8 and picture[0, 0].tolist() == [0, 128, 255]


def test_signed_maps_keep_zero_in_the_middle():
    shown = signed_display(torch.tensor([[[-4.0, 0.0, 2.0]], [[0.0, 0.0, 0.0]]]))
    assert shown[0, 0].tolist() == [0.0, 0.5, 0.75] and shown[1, 0].tolist() == [0.5] * 3


def test_long_texts_are_cut_inside_the_strip():
    picture = strip([Panel("input", torch.zeros(3, 20, 20))], caption="word " * 200)
    right = picture[-30:, -4:]
    assert (right > 200).all()


@pytest.mark.parametrize(("correct", "channel"), [(True, 1), (False, 0)])
def test_frame_tells_right_from_wrong(correct, channel):
    picture = strip([Panel("input", torch.zeros(3, 20, 20))], correct=correct)
    colored = picture[(picture.max(2).astype(int) - picture.min(2)) > 60]
    assert len(colored) and (colored.argmax(1) == channel).all()


def test_samples_say_what_was_seen():
    pixels = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    methods = [Method("gradcam", "Grad-CAM"), Method("gradcam_deep", "Grad-CAM")]
    found = {"gradcam": Explained(torch.rand(2, 16, 16)), "gradcam_deep": Explained(torch.rand(2, 16, 16))}
    masks = torch.ones(2, 16, 16, dtype=torch.bool)
    first, second = samples_of(
        pixels,
        found,
        methods,
        ["#4", "#7"],
        ["cat", "dog"],
        torch.tensor([0, 1]),
        masks,
        torch.tensor([True, False]),
        {name: torch.tensor([0.6, 0.1]) for name in found},
    )
    assert first.caption == "#4 · true cat · predicted cat 0.90"
    assert second.caption == "#7 · true dog · predicted cat · explained dog 0.25"
    assert (first.correct, second.correct) == (True, False)
    assert first.notes == {"Grad-CAM": "60% inside", "Grad-CAM deep": "60% inside"}
    assert second.notes["Grad-CAM"] == "no evidence" and second.mask is None
    wide, plain = first.strip(with_truth=True), first.strip(with_truth=False)
    assert wide.shape[1] > plain.shape[1] and wide.shape == second.strip(with_truth=True).shape


def test_unknown_labels_are_not_judged():
    sample = Sample("photo.jpg", torch.zeros(3, 8, 8), "cat", "cat", 0.5, {}, {})
    assert sample.correct is None and sample.caption == "photo.jpg · predicted cat 0.50"


def test_names_that_share_a_label_are_set_apart():
    methods = [Method("gradcam_bottleneck", "Grad-CAM"), Method("gradcam", "Grad-CAM"), Method("cam", "CAM")]
    assert printed_names(methods) == {
        "gradcam_bottleneck": "Grad-CAM bottleneck",
        "gradcam": "Grad-CAM",
        "cam": "CAM",
    }


def test_names_without_a_common_start_are_shown_whole():
    methods = [Method("coarse", "Grad-CAM"), Method("gradcam", "Grad-CAM")]
    assert list(printed_names(methods).values()) == ["Grad-CAM coarse", "Grad-CAM gradcam"]


def test_score_rows_keep_a_failed_method_visible():
    results = {"localization": {"cam": 0.4}, "localization_minmax": {"cam": 0.1}}
    columns, rows = score_rows(results, [Method("cam", "CAM"), Method("gradcam", "Grad-CAM")])
    assert columns == ["method", "localization"]
    assert rows[0] == ["CAM", 0.4] and rows[1][0] == "Grad-CAM" and rows[1][1] != rows[1][1]


def test_pixels_that_stand_out_are_cut_for_the_picture():
    """One pixel of a hundred is a hundred times as large as the others: at full scale it alone would be seen."""
    maps = torch.cat([torch.linspace(0, 0.01, 99), torch.ones(1)]).view(1, 10, 10)
    assert torch.equal(unsigned_display(maps), maps)
    cut = unsigned_display(maps, 0.01)
    torch.testing.assert_close(cut.flatten()[:99], torch.linspace(0, 1, 99))
    assert cut.flatten()[99] == 1
    signed = signed_display(-maps, 0.01).flatten()
    torch.testing.assert_close(signed[:99], torch.linspace(0.5, 0, 99))
    assert signed[99] == 0
    # Where less than that share is not zero, the largest value sets the scale.
    lonely = torch.zeros(1, 10, 10)
    lonely[0, 3, 3] = 0.5
    assert unsigned_display(lonely, 0.05).max() == 1 and unsigned_display(lonely * 0, 0.05).eq(0).all()
