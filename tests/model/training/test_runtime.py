import subprocess

import pytest

from ferops.model.training import runtime


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu avx2 avx512f avx512_bf16 vaes", True),
        ("fpu avx2 amx_bf16 amx_tile", True),
        ("fpu avx2 avx512f avx512_vnni", False),
        ("", False),
    ],
)
def test_a_processor_computes_in_bfloat16_where_its_flags_say_so(flags: str, expected: bool) -> None:
    assert runtime.has_bfloat16(flags) is expected


def test_auto_follows_the_processor_where_there_is_no_accelerator() -> None:
    described = subprocess.run(["lscpu"], capture_output=True, text=True, check=True).stdout
    expected = "mixed_bfloat16" if runtime.has_bfloat16(described) else "float32"
    assert runtime.precision("auto") == expected


@pytest.mark.parametrize("wanted", ["float32", "mixed_bfloat16"])
def test_a_precision_that_is_asked_for_is_taken(wanted: str) -> None:
    assert runtime.precision(wanted) == wanted
