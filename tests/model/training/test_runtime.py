import subprocess

import pytest

from ferops.model.training import runtime


def test_auto_is_bfloat16_where_the_processor_has_it() -> None:
    described = subprocess.run(["lscpu"], capture_output=True, text=True, check=True).stdout.split()
    has_bfloat16 = "avx512_bf16" in described or "amx_bf16" in described
    assert runtime.precision("auto") == ("mixed_bfloat16" if has_bfloat16 else "float32")


@pytest.mark.parametrize("wanted", ["float32", "mixed_bfloat16"])
def test_a_precision_that_is_asked_for_is_taken(wanted: str) -> None:
    assert runtime.precision(wanted) == wanted
