from ferops import params
from ferops.tracking.outputs import read_outputs


def test_the_bounds_of_monitoring_belong_to_no_run(pipeline) -> None:
    flat = params.flatten(params.load())
    outputs = read_outputs(flat)
    assert {key.partition(".")[0] for key in outputs.evaluation} == {"evaluate", "promotion"}
    assert read_outputs(flat | {"monitoring.max_psi": 1.0}).digest == outputs.digest
