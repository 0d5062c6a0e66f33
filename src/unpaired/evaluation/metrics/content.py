"""How far the structure of a translation is from that of its input; the nearest and the farthest are shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

from torch import Tensor

from unpaired.core.errors import UserError
from unpaired.data.held_out import displayed
from unpaired.evaluation.dataset import Batch
from unpaired.evaluation.metrics.base import Context, ImageMetric, Need, as_colour, feature_network, network_facts
from unpaired.evaluation.metrics.pairs import EXAMPLES
from unpaired.evaluation.running_mean import Example, Extremes, png_grid
from unpaired.metrics.structure import edge_distance, self_similarity
from unpaired.report.results import Fact, Picture


class _Content(ImageMetric):
    """A distance of inputs and translations that are grey or RGB."""

    better, group, needs = "lower", "content", frozenset({Need.INPUT})

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._ends = {"best": Extremes(EXAMPLES, "smallest"), "worst": Extremes(EXAMPLES, "largest")}

    @classmethod
    def unavailable(cls, context: Context) -> str | None:
        """Refuse images that are neither grey nor RGB."""
        assert context.task.inputs is not None
        seen = {context.task.inputs.domain.channels, context.task.target.channels}
        return None if seen <= {1, 3} else "inputs or translations are neither grey nor RGB"

    def observe(self, batch: Batch, values: Tensor) -> None:
        """Keep the images at both ends."""
        task = self.context.task
        if not self.context.protocol.pictures or task.inputs is None or batch.input_images is None:
            return
        for index, value in enumerate(values.tolist()):
            for end in self._ends.values():
                if end.wants(value):
                    cells = {
                        "input": displayed(batch.input_images[index], task.inputs.domain),
                        "translation": displayed(batch.fake_images[index], batch.fake_domain),
                    }
                    caption = f"{batch.names[index]}: distance {value:.3g}"
                    end.add(value, batch.first + index, Example(cells, caption))

    def pictures(self) -> list[Picture]:
        """Return the translations that keep most and least of their inputs' structure."""
        task, told = self.context.task, {"best": "most", "worst": "least"}
        return [
            Picture(
                file=f"{which}_{self.name}_{task.direction}.png",
                title=f"Content kept {told[which]}, {task.heading}",
                alt=f"{len(examples)} rows of input and translation, those whose structure is kept {told[which]} "
                f"first, by {self.title}.",
                content=png_grid(examples, f"Content kept {told[which]}, {task.heading}"),
            )
            for which, end in self._ends.items()
            if (examples := end.examples())
        ]


@final
class EdgeDistance(_Content):
    """1 - correlation of the edges of input and translation, in [0, 2]; needs no weights."""

    name, title, smallest = "structure_edges", "Structure distance (edges)", 4

    def compare(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the distance of each pair."""
        return edge_distance(as_colour(y), as_colour(x))

    def facts(self) -> Mapping[str, Fact]:
        """Return the method."""
        return {"method": "gradients of luminance (Sobel); 1 - correlation of their magnitudes, in [0, 2]"}


@final
class StructureDistance(_Content):
    """Distance of the self-similarity of the features of input and translation (Tumanyan et al. 2022), in [0, 4]."""

    name, title = "structure", "Structure distance"
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
        """Return the network and the method."""
        return {**network_facts(self._network), "method": "self-similarity of positions, mean squared difference"}
