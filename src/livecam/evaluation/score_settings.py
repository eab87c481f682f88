"""What scores depend on: whoever goes on with a folder of them has to want the same."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from livecam.evaluation.loaded_network import Network
from livecam.explain import Explainer


def settings_of(
    network: Network, data: Mapping[str, Any], methods: Sequence[Explainer], metrics: Sequence[str], **more: Any
) -> dict[str, Any]:
    """What scores depend on, as plain values that tell one run's from another's."""
    return {
        "network": network.label,
        "weights": fingerprint(network.source),
        "input": [network.image_size, network.resize],
        "data": dict(data),
        "methods": [repr(method) for method in methods],
        "metrics": list(metrics),
        **more,
    }


def fingerprint(source: str) -> str:
    """Name and content of a file; the name alone of published weights."""
    path = Path(source)
    if not path.is_file():
        return source
    with path.open("rb") as file:
        return f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"
