"""How the oracle tests ask torchcam and pytorch_grad_cam, and own derivatives where a library is what is tested."""

import torch


def scaled(net, path, factor):
    """Weights of the head times ``factor``: both libraries add constants that faint maps and gradients would feel."""
    with torch.no_grad():
        net.get_submodule(path).weight.mul_(factor)
    return net


def torchcam_map(cls, net, images, targets, layer, **kwargs):
    """Their raw map: their own min-max adds a constant."""
    with cls(net, layer, **kwargs) as extractor:
        scores = net(images)
        return extractor(targets.tolist(), scores, normalized=False)[0].detach()


def grad_cam_map(cls, net, images, targets, layer):
    """Their map, resized and scaled as they deliver it."""
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    with cls(model=net, target_layers=[net.get_submodule(layer)]) as extractor:
        maps = extractor(images, [ClassifierOutputTarget(target) for target in targets.tolist()])
    return torch.from_numpy(maps)


def gradient(net, images, targets, layer):
    """A and g of a layer that nothing overwrites, by a hook of three lines: no code of ours, none of theirs."""
    kept = []
    handle = net.get_submodule(layer).register_forward_hook(lambda module, args, output: kept.append(output))
    score = net(images)[torch.arange(len(images)), targets].sum()
    handle.remove()
    return kept[0].detach(), torch.autograd.grad(score, kept[0])[0]


def agree(ours, theirs, tolerance):
    assert ours.amax() == 1, "an empty map agrees with anything"
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=0, check_dtype=False)


def far(one, other):
    """Largest difference anywhere."""
    return float((one - other).abs().max())
