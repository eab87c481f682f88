import numpy as np
import pytest
import torch

from livecam.explain.feature_maps import LayerMaps
from livecam.report.drawing.colormap import apply_colormap
from livecam.report.drawing.feature_grid import feature_grid
from livecam.report.drawing.strips import Sample

# Where things are: margin, width of the layers' names, place of a tile with the space beside and below it.
MARGIN, GUTTER, STEP, FOOT = 14, 184, 136, 20
PAPER, BLANK, RED = (255, 255, 255), (240, 240, 238), (196, 56, 48)


def sample(pixels=None, **kw) -> Sample:
    known = {"name": "#1", "predicted": "cat", "explained": "cat", "probability": 0.5, "overlays": {}, "notes": {}}
    return Sample(pixels=torch.zeros(3, 16, 16) if pixels is None else pixels, **known | kw)


def layer(maps: torch.Tensor, name: str = "layer1", signed: bool = False) -> LayerMaps:
    """Channels 10, 11, ... ``(K, h, w)`` of one image."""
    channels = torch.arange(10, 10 + len(maps))[None]
    return LayerMaps(name, (64, *maps.shape[1:]), channels, maps[None].float(), signed)


def color(share: float, signed: bool = False) -> np.ndarray:
    return (apply_colormap(torch.full((1, 1, 1), share), signed)[0, :, 0, 0] * 255).round().byte().numpy()


def tile(picture: np.ndarray, column: int, height: int, width: int, line: int = 0) -> np.ndarray:
    """Pixels of a tile of the only row of a picture, whose lines of tiles are all of one height."""
    lines = round((len(picture) - 232) / (height + FOOT)) or 1
    top = len(picture) - MARGIN - (lines - line) * (height + FOOT)
    left = MARGIN + GUTTER + column * STEP + (STEP - 8 - width) // 2
    return picture[top : top + height, left : left + width]


def test_small_maps_become_square_pixels_on_one_scale():
    values = torch.tensor([[[0.0, 1.0], [2.0, 4.0]], [[2.0, 2.0], [2.0, 2.0]]])
    picture = feature_grid(sample(), [layer(values)], 0)
    assert picture.dtype == np.uint8 and picture.ndim == 3
    first, second = tile(picture, 0, 128, 128), tile(picture, 1, 128, 128)
    for (row, column), value in np.ndenumerate(values[0].numpy()):
        block = first[row * 64 : row * 64 + 64, column * 64 : column * 64 + 64]
        assert (block == color(value / 4)).all()
    # A channel that reaches half of the row's peak has half of its colors.
    assert (second == color(0.5)).all()


def test_signed_layers_are_white_at_zero():
    values = torch.tensor([[0.0, -2.0, 1.0, 2.0]]).expand(1, 4, 4)
    shown = tile(feature_grid(sample(), [layer(values, signed=True)], 0), 0, 128, 128)
    expected = [color(share, signed=True) for share in (0.5, 0, 0.75, 1)]
    for column, wanted in enumerate(expected):
        assert (shown[:, column * 32 : column * 32 + 32] == wanted).all()
    assert tuple(expected[0]) == (247, 247, 247)


def test_dead_and_broken_channels_say_so():
    values = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0)) + 0.5
    values[1] = 0
    values[2] *= 100
    values[2, 0, 0] = torch.nan
    picture = feature_grid(sample(), [layer(values)], 0)
    assert (tile(picture, 0, 128, 128) != BLANK).any(2).all()
    words = []
    for column in (1, 2):
        shown = tile(picture, column, 128, 128)
        assert tuple(shown[5, 5]) == BLANK
        words.append((shown != BLANK).any(2))
        assert 50 < words[-1].sum() < 2000
    assert (words[0] != words[1]).any()
    # The broken channel does not spoil the others' scale.
    brightest = values[0].flatten().argmax()
    y, x = divmod(int(brightest), 8)
    assert (tile(picture, 0, 128, 128)[y * 16 + 3, x * 16 + 3] == color(1)).all()


@pytest.mark.parametrize("value", [0, torch.nan, -torch.inf])
def test_a_layer_without_any_sound_channel_is_drawn(value):
    picture = feature_grid(sample(), [layer(torch.full((2, 4, 4), value))], 0)
    assert all(tuple(tile(picture, column, 128, 128)[3, 3]) == BLANK for column in (0, 1))


def test_one_hot_pixel_does_not_darken_the_rest():
    values = torch.ones(1, 64, 64)
    values[0, 5, 5] = 1000
    shown = tile(feature_grid(sample(), [layer(values)], 0), 0, 128, 128)
    assert (shown == color(1)).all()


def test_large_maps_are_reduced_smoothly():
    # Four columns become one; its two middle ones alone would give zero.
    stripes = torch.tensor([1.0, 0, 0, 1]).repeat(128).expand(1, 512, 512)
    picture = feature_grid(sample(), [layer(stripes)], 0)
    inner = tile(picture, 0, 128, 128)[2:-2, 2:-2].astype(int)
    assert np.abs(inner - color(0.5)).max() <= 2


@pytest.mark.parametrize(("size", "shown"), [((7, 7), (126, 126)), ((112, 112), (112, 112)), ((60, 30), (120, 60))])
def test_whole_factors_keep_proportions(size, shown):
    picture = feature_grid(sample(), [layer(torch.full((1, *size), 3.0))], 0)
    found = (picture[:, MARGIN + GUTTER :] == color(1)).all(2)
    rows, columns = found.any(1).nonzero()[0], found.any(0).nonzero()[0]
    assert (len(rows), len(columns)) == shown and found.sum() == shown[0] * shown[1]


def test_many_channels_go_on_below():
    values = torch.arange(1.0, 21.0)[:, None, None].expand(20, 8, 8)
    picture = feature_grid(sample(), [layer(values)], 0)
    assert picture.shape[1] == 2 * MARGIN + GUTTER + 8 * STEP
    for number in range(20):
        shown = tile(picture, number % 8, 128, 128, number // 8)
        assert (shown == color((number + 1) / 20)).all()


def test_long_names_are_wrapped_and_whole():
    values = torch.ones(8, 8, 8)
    short = feature_grid(sample(), [layer(values)], 0)
    name = ".".join(["backbone", "denseblock3", "denselayer24", "convolution"] * 3)
    long = feature_grid(sample(), [layer(values, name)], 0)
    assert long.shape[0] > short.shape[0] and long.shape[1] == short.shape[1]
    # Nothing is written into the tiles or over the edges.
    assert (long[:, :MARGIN] == 255).all() and (long[-MARGIN:] == 255).all()
    assert (long[240:, MARGIN + GUTTER - 8 : MARGIN + GUTTER] == 255).all()


@pytest.mark.parametrize(("label", "frame"), [("dog", RED), (None, (0, 0, 0))])
def test_the_input_stands_above_and_a_mistake_is_framed(label, frame):
    pixels = torch.zeros(3, 16, 16)
    pixels[:, 8, 4] = torch.tensor([0.0, 1.0, 0.0])
    picture = feature_grid(sample(pixels, label=label), [layer(torch.ones(1, 8, 8))], 0)
    top = MARGIN + 24
    assert tuple(picture[top + 1, MARGIN + 1]) == frame
    # 16 px enlarged eleven times.
    green = (picture == (0, 255, 0)).all(2)
    assert green.sum() == 121 and green[top + 88 : top + 99, MARGIN + 44 : MARGIN + 55].all()


def test_wide_inputs_and_long_captions_fit():
    wide = feature_grid(sample(torch.zeros(3, 20, 60)), [layer(torch.ones(1, 8, 8))], 0)
    black = (wide[:200] == 0).all(2)
    assert black.any(0).sum() <= 2 * 60 + 70 and black[60, MARGIN : MARGIN + 120].all()
    wordy = sample(name="photo " * 80, predicted="a class with many names " * 20)
    long = feature_grid(wordy, [layer(torch.ones(1, 8, 8))], 0)
    assert long.shape[0] > wide.shape[0] and (long[:, -MARGIN:] == 255).all()
