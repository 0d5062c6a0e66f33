"""How far the structure of a translation is from that of its input; the nearest and the farthest are shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

from torch import Tensor

from unpaired.core.errors import UserError
from unpaired.evaluation.metrics.base import Context, End, ImageMetric, Need, feature_network, network_facts
from unpaired.metrics.features.base import as_colour
from unpaired.metrics.structure import edge_distance, self_similarity
from unpaired.report.results import Fact


def _ends(name: str) -> tuple[End, End]:
    alt = "input and translation, those whose structure is kept"
    return (
        End(f"best_{name}", "smallest", "Content kept most", f"{alt} most first"),
        End(f"worst_{name}", "largest", "Content kept least", f"{alt} least first"),
    )


class _Content(ImageMetric):
    """A distance of inputs and translations that are grey or RGB."""

    better, group, needs = "lower", "content", frozenset({Need.INPUT})

    @classmethod
    def unavailable(cls, context: Context) -> str | None:
        assert context.task.inputs is not None
        seen = {context.task.inputs.domain.channels, context.task.target.channels}
        return None if seen <= {1, 3} else "inputs or translations are neither grey nor RGB"


@final
class EdgeDistance(_Content):
    """1 - correlation of the edges of input and translation, in [0, 2]; needs no weights."""

    name, title, smallest = "structure_edges", "Structure distance (edges)", 4
    ends = _ends(name)

    def compare(self, x: Tensor, y: Tensor) -> Tensor:
        return edge_distance(as_colour(y), as_colour(x))

    def facts(self) -> Mapping[str, Fact]:
        return {"method": "gradients of luminance (Sobel); 1 - correlation of their magnitudes, in [0, 2]"}


@final
class StructureDistance(_Content):
    """Distance of the self-similarity of the features of input and translation (Tumanyan et al. 2022), in [0, 4]."""

    name, title = "structure", "Structure distance"
    ends = _ends(name)
    needs = frozenset({Need.INPUT, Need.MAPS})

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        network = feature_network(StructureDistance, context.networks)
        assert network is not None
        self._network = network
        self.title = f"Structure distance ({network.name})"

    def compare(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the distance of each pair; `UserError` where the network has one position for an image."""
        of_y, of_x = self._network.maps(as_colour(y)), self._network.maps(as_colour(x))
        assert of_x is not None
        assert of_y is not None
        if of_x.shape[-2] * of_x.shape[-1] < 2:
            raise UserError(
                f"structure: {self._network.name} has one position for an image of {x.shape[-2]} x {x.shape[-1]}, and "
                "self-similarity compares positions. Use larger images (--size), or leave structure out of --metrics."
            )
        return self_similarity(of_y, of_x)

    def facts(self) -> Mapping[str, Fact]:
        return {**network_facts(self._network), "method": "self-similarity of positions, mean squared difference"}
