"""Opening a run never imports code that only the run names."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from unpaired.core.errors import UserError
from unpaired.data.held_out import open_dataset
from unpaired.models.loading import CONFIG, read_data_config


@pytest.mark.parametrize("name", ["source_a", "readers"])
def test_a_config_that_names_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / "evil_part.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    value = ["evil_part:Reader"] if name == "readers" else "evil_part:Source"
    document = {"data": {name: value, "b": str(tmp_path)}}
    (tmp_path / CONFIG).write_text(json.dumps(document))
    config = read_data_config(tmp_path)
    with pytest.raises(UserError, match="--extension evil_part"):
        open_dataset(config)
    assert "evil_part" not in sys.modules
