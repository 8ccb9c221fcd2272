import json
from pathlib import Path

from ferops import params
from ferops.tracking.outputs import read_outputs


def test_the_bounds_of_monitoring_belong_to_no_run(pipeline) -> None:
    flat = params.flatten(params.load())
    outputs = read_outputs(flat)
    assert {key.partition(".")[0] for key in outputs.settings} == {"evaluate", "promotion"}
    assert read_outputs(flat | {"monitoring.max_psi": 1.0}).files_digest == outputs.files_digest


def test_figures_of_extra_sets_have_names_of_their_own_and_may_be_missing(pipeline) -> None:
    flat = params.flatten(params.load())
    assert not any("ckplus" in name for name in read_outputs(flat).metrics)
    figures = {"accuracy": 0.5, "per_class": {"happy": {"recall": 1.0}}}
    Path("metrics/extra.json").write_text(json.dumps({"ckplus": figures}))
    outputs = read_outputs(flat)
    assert outputs.metrics["acc_ckplus"] == 0.5
    assert "evaluation/extra.json" in outputs.files
