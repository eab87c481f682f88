"""An image whose pixels or map are no numbers costs its own value, and is counted; the others keep theirs."""

import pytest
import torch
from test_adding_up import COUNT, METRICS, data, given


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("spoilt", ["pixels", "map", "both"])
@pytest.mark.parametrize("name", METRICS)
def test_one_image_spoils_no_other(name, spoilt, value):
    metric = METRICS[name]()
    clean = data(metric)
    expected = metric.per_image(**given(metric, *clean))
    maps, masks, reference, images, labels = (part.clone() for part in clean)
    if spoilt != "map":
        images[3, :, 2:4] = value
    if spoilt != "pixels":
        # Those in [0, 1] are made zeros by whoever scales them.
        maps[3, 1 if metric.uses != "map" else slice(None)] = value if metric.uses != "map" else 0
    asked = given(metric, maps, masks, reference, images, labels)
    # Explains each image by itself, as every method does.
    others = torch.arange(COUNT) != 3
    torch.testing.assert_close(
        metric.per_image(**asked)[:, others], expected[:, others], atol=1e-12, rtol=1e-9, equal_nan=True
    )
    metric.update(**asked)
    result = metric.compute()
    assert result["n"] + result["undefined"] == COUNT
    assert result[metric.value_names[0]].isfinite()
