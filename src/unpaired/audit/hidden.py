"""The first check: whether the input is hidden in the output, by disturbing translations before the way back."""

from __future__ import annotations

import PIL

from unpaired.audit.charts import draw, error_chart, spectrum_chart
from unpaired.audit.findings import RESAMPLES, Findings, few_images, figures_of, shares_of, table_of
from unpaired.audit.inputs import Asked
from unpaired.audit.measure import measure, response, spectrum_of
from unpaired.audit.summary import summary, verdict
from unpaired.data.directions import DIRECTIONS
from unpaired.data.held_out import evenly
from unpaired.report.image_grid import png
from unpaired.report.results import Check, Figure, Picture

PROBED = 8
"""Images at which the networks' sensitivity is measured, which takes gradients."""


def why_not_hidden(asked: Asked) -> str | None:
    """Return why a model cannot be asked what its translations hide; None where it can."""
    missing = [direction for direction in DIRECTIONS if direction not in asked.inputs.card.translators]
    return f"the model has no {missing[0]}, and this measures what is hidden for the way back" if missing else None


def check_hidden(asked: Asked) -> tuple[tuple[Figure, ...], Check]:
    """Disturb the translations of one direction and bring them back; return the figures and what they say."""
    forward, backward, images, real = asked.forward, asked.backward, asked.images, asked.real
    heading, seed = forward.heading, asked.options.seed
    measured = measure(forward, backward, images, seed=seed, progress=asked.on_progress("auditing"))
    probes = [images.batch([place]) for place in evenly(len(images), PROBED)]
    translated = [forward.translate_tensor(probe) for probe in probes]
    found = Findings(
        names=asked.names,
        reconstructions=measured,
        shares=shares_of(measured, seed=seed),
        translated=spectrum_of(images, forward),
        real=spectrum_of(real),
        sensitivity=(response(forward, probes, seed=seed), response(backward, translated, seed=seed)),
        protocol={
            **asked.protocol(),
            "real_images_of_the_target": len(real),
            "disturbed": "translations in float, clamped to the range of values; JPEG by Pillow, 4:4:4",
            "errors": f"standard errors over images; of shares by {RESAMPLES} resamples of the images",
            "pillow": PIL.__version__,
        },
    )
    examples, columns = draw(forward, backward, images, seed=seed, title=f"{heading}: hidden detail")
    picture = Picture(
        file=f"hidden_{asked.direction}.png",
        title=f"{heading}: translations, their detail, and what comes back",
        alt=f"Examples in rows. Columns: {'; '.join(columns)}.",
        content=png(examples),
    )
    trained = "there are no test images, so training images were measured"
    from_train = asked.inputs.dataset.test.taken_from == "train"
    warnings = (*measured.notices, few_images(found), trained if from_train else None)
    return figures_of(found), Check(
        name="audit",
        verdict=verdict(found),
        summary=summary(found),
        tables=(table_of(found),),
        charts=(
            error_chart(measured, f"{heading}: error of the reconstruction after a disturbance"),
            spectrum_chart(found.translated, found.real, target=found.names[1]),
        ),
        pictures=(picture,),
        warnings=tuple(warning for warning in warnings if warning),
    )
