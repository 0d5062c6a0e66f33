"""The state of a training: what earlier versions wrote is read, and what they wrote too much is passed over."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unpaired.data.values import Domain
from unpaired.methods import Batch, ImageShapes
from unpaired.methods.cyclegan import Config, CycleGAN
from unpaired.models.folder import DamagedError, read_card, read_document, read_tensors, write_model
from unpaired.networks import PatchganConfig, ResnetConfig
from unpaired.training.averages import Means
from unpaired.training.config import TrainingConfig
from unpaired.training.schedule import Plateau
from unpaired.training.state import Counters, load_checkpoint, save_checkpoint
from unpaired.training.trainer import Trainer

NETWORKS = {"generator": ResnetConfig(width=2, blocks=0), "discriminator": PatchganConfig(width=2, layers=1)}
DOMAIN = Domain(channels=1, dtype="uint8", range=(0, 255))


def make(gan_weight: float = 1.0) -> Trainer:
    given = {name: NETWORKS[name] for name in NETWORKS if gan_weight or name != "discriminator"}
    config = Config(**given, gan_weight=gan_weight)  # type: ignore[arg-type]
    method = CycleGAN(config, ImageShapes(channels_a=1, channels_b=1, size=(16, 16)))
    return Trainer(method, TrainingConfig(precision="fp32"), torch.device("cpu"))


def trained(gan_weight: float = 1.0) -> Trainer:
    trainer = make(gan_weight)
    images = torch.linspace(-1, 1, 256).reshape(1, 1, 16, 16)
    trainer.step(iter([Batch(images, -images)]))
    return trainer


def save(folder: Path, trainer: Trainer) -> Counters:
    counters = Counters(images_seen=3, step=3, seconds=0.1, checkpoints_written=1, warned={"b", "a"})
    domains = {"a": DOMAIN, "b": DOMAIN}
    save_checkpoint(folder, trainer, {"": counters}, method="cyclegan", domains=domains, training_size=(16, 16))
    return counters


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A checkpoint with the parts of a run."""
    domains = {"a": DOMAIN, "b": DOMAIN}
    parts = {"": Counters(images_seen=3, step=3), "plateau": Plateau(), "epoch_means": Means()}
    folder = tmp_path / "saved"
    save_checkpoint(folder, trained(), parts, method="cyclegan", domains=domains, training_size=(16, 16))
    return folder


def test_a_checkpoint_keeps_the_names_that_it_has_always_had(tmp_path: Path) -> None:
    trainer = trained()
    counters = save(tmp_path / "new", trainer)
    document, tensors = (
        read_document(tmp_path / "new", "training.json"),
        read_tensors(tmp_path / "new", "training.safetensors"),
    )
    assert (document["images_seen"], document["warned"], document["scaler"]) == (3, ["a", "b"], {})
    assert {key.split(".")[0] for key in tensors} == {"method", "optimizer", "random"}
    assert {"random.cpu", "method.pool_x.images", "optimizer.generators.0.exp_avg"} <= tensors.keys()
    assert not any(key.startswith(("method.G.", "method.F.")) for key in tensors)  # they are the model's own
    other, found = make(), Counters()
    load_checkpoint(tmp_path / "new", other, {"": found})
    assert found == counters
    for name, value in trainer.method.state_dict().items():
        assert torch.equal(value, other.method.state_dict()[name]), name


def test_discriminators_of_earlier_versions_that_nothing_used_are_passed_over(tmp_path: Path) -> None:
    trainer = trained(gan_weight=0.0)
    save(tmp_path / "new", trainer)
    unused = {f"method.{key}": value for key, value in trained().method.state_dict().items() if key[0] not in "GF"}
    folder = tmp_path / "new"
    files = {"training.safetensors": read_tensors(folder, "training.safetensors") | unused}
    files |= {f"{way}.safetensors": read_tensors(folder, f"{way}.safetensors") for way in ("a2b", "b2a")}
    write_model(tmp_path / "old", read_card(folder), files, {"training.json": read_document(folder, "training.json")})
    other = make(gan_weight=0.0)
    load_checkpoint(tmp_path / "old", other, {"": Counters()})
    for name, value in trainer.method.state_dict().items():
        assert torch.equal(value, other.method.state_dict()[name]), name
    with pytest.raises(DamagedError, match="does not fit its own settings"):
        load_checkpoint(tmp_path / "new", make(), {"": Counters()})


WILD = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_forged_state_is_damaged_and_nothing_else(saved: Path, data: st.DataObject) -> None:
    """The checksums are right: whoever forges a checkpoint forges them too."""
    document = read_document(saved, "training.json")
    name = data.draw(st.sampled_from(sorted(document)))
    forged = saved.with_name("forged")
    files = {f"{name}.safetensors": read_tensors(saved, f"{name}.safetensors") for name in ("training", "a2b", "b2a")}
    write_model(forged, read_card(saved), files, {"training.json": {**document, name: data.draw(WILD)}})
    parts = {"": Counters(), "plateau": Plateau(), "epoch_means": Means()}
    try:
        load_checkpoint(forged, make(), parts)
    except DamagedError:
        return
    assert parts[""].images_seen >= 0  # type: ignore[attr-defined]


def test_moments_of_another_shape_are_refused(saved: Path) -> None:
    files = {f"{name}.safetensors": read_tensors(saved, f"{name}.safetensors") for name in ("training", "a2b", "b2a")}
    files["training.safetensors"]["optimizer.generators.0.exp_avg"] = torch.zeros(7)
    write_model(
        saved.with_name("forged"), read_card(saved), files, {"training.json": read_document(saved, "training.json")}
    )
    with pytest.raises(DamagedError, match="another shape"):
        load_checkpoint(saved.with_name("forged"), make(), {"": Counters()})
