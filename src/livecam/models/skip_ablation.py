"""The ablated twin of a U-Net: the same network without its encoder-decoder skips.

``drop`` removes the skips and is what to report as the ablated twin; ``zero`` feeds zeros in their place, so that the
weights of a trained U-Net can be ablated afterwards. A convolution over [u, 0] equals one over u with the sliced
weight, so both are the same class of functions. Residual connections inside an encoder stay.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from livecam.core.validation import check_option

SKIPS = ("concat", "drop", "zero")


def ablate(net: nn.Module, skips: str) -> None:
    """Turn a freshly built ``concat`` U-Net into the twin that ``skips`` names, in place.

    Building the full network first spends the same random numbers, so equal seeds give twins that start equal.

    Args:
        net: A U-Net with ``decoder`` (a :class:`~livecam.models.decoder.Decoder`), and ``stem`` if it has one.
        skips: ``concat``, ``drop`` or ``zero``.

    Raises:
        ValueError: When ``skips`` is unknown.
    """
    check_option("skips", skips, SKIPS)
    net.decoder.use_skips = skips == "concat"
    stem = getattr(net, "stem", None)
    if skips == "zero" and stem is not None:
        # A trainable parameter that no output depends on makes distributed training fail.
        stem.requires_grad_(False)
    if skips == "drop":
        full = net.state_dict()
        if stem is not None:
            net.stem = None
        for block in net.decoder.blocks:
            block.drop_skip()
        net.load_state_dict(sliced_state(full, net))


def sliced_state(state: Mapping[str, Tensor], twin: nn.Module) -> dict[str, Tensor]:
    """Weights of the ``drop`` twin out of those of the ``concat`` or ``zero`` U-Net.

    Of the decoder's convolutions that took in a skip, the part that reads upsampled channels is kept (``W[:, :c]``,
    these come first); a full-resolution stem is left out. Everything else passes unchanged.

    Args:
        state: State dict of a ``concat`` or ``zero`` network, initial or trained.
        twin: A network built with ``skips="drop"`` and otherwise the same arguments.

    Returns:
        A state dict for ``twin.load_state_dict``.
    """
    twin_state = twin.state_dict()
    sliced = {}
    for key, value in state.items():
        if key.startswith("stem.") and key not in twin_state:
            continue
        if key.startswith("decoder.") and key in twin_state and value.ndim == 4:
            value = value[:, : twin_state[key].shape[1]]
        sliced[key] = value
    return sliced
