"""The environment of TensorFlow and the options of the C allocator."""

import ctypes
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ferops.machine import tensorflow

OURS = ("TF_ENABLE_ONEDNN_OPTS", "TF_CPP_MIN_LOG_LEVEL")

STEP = """
import sys
from ferops.machine import tensorflow
tensorflow.configure()
import cv2, keras, numpy as np
from keras import layers
from ferops.model.networks import building_blocks
keras.utils.set_random_seed(0)
faces, x = building_blocks.faces_input()
for _ in range(2):
    x = layers.Conv2D(16, 3, 2, padding="same", use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
network = keras.Model(faces, building_blocks.probabilities(layers.Flatten()(x)))
before = [np.array(variable) for variable in network.trainable_variables]
network.compile(keras.optimizers.SGD(1.0), "sparse_categorical_crossentropy", jit_compile=False)
rng = np.random.default_rng(0)
images = [cv2.resize(rng.integers(0, 256, (6, 6), np.uint8), (48, 48), interpolation=2) for _ in range(32)]
network.train_on_batch(np.stack(images), np.arange(32) % 7)
np.savez(sys.argv[1], *[old - np.array(new) for old, new in zip(before, network.trainable_variables)])
"""
"""One step of a network so small that no ReLU's input is zero but for rounding."""

PAGE_FAULTS = """
import resource, sys
from ferops.machine import tensorflow
if "configured" in sys.argv:
    tensorflow.configure()
import numpy as np
for _ in range(20):
    np.ones(40 << 20, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    np.ones(40 << 20, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def python(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, as for a user who has set nothing but `environment`."""
    inherited = {k: v for k, v in os.environ.items() if k not in OURS and not k.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, env=inherited | environment, capture_output=True, text=True, check=True)


def page_faults(*arguments: str, **environment: str) -> int:
    return int(python(PAGE_FAULTS, *arguments, **environment).stdout)


class Allocator:
    """A C library that records the options that it accepts."""

    def __init__(self) -> None:
        self.options: dict[int, int] = {}
        self.maximum = 1 << 40

    def mallopt(self, option: int, value: int) -> int:
        if value > self.maximum:
            return 0
        self.options[option] = value
        return 1


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment in which a user has set nothing."""
    for name in [*OURS, *(name for name in os.environ if name.startswith(("MALLOC_", "GLIBC_")))]:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.fixture
def allocator(environment: pytest.MonkeyPatch) -> Allocator:
    one = Allocator()
    environment.setattr(ctypes, "CDLL", lambda _name: one)
    return one


def test_a_step_has_the_same_gradients_with_onednn_and_without_and_the_users_own_setting_wins(tmp_path: Path) -> None:
    said = {
        name: python(STEP, str(tmp_path / name), TF_CPP_MIN_LOG_LEVEL="0", **environment).stderr
        for name, environment in (("with.npz", {}), ("without.npz", {"TF_ENABLE_ONEDNN_OPTS": "0"}))
    }
    if platform.machine() in ("x86_64", "AMD64"):
        assert "oneDNN custom operations are on" in said["with.npz"]
    assert "oneDNN custom operations are on" not in said["without.npz"]
    with np.load(tmp_path / "with.npz") as ours, np.load(tmp_path / "without.npz") as plain:
        assert len(ours.files) == 8
        for name in ours:
            np.testing.assert_allclose(ours[name], plain[name], rtol=0, atol=1e-4 * np.abs(plain[name]).max())


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_memory_that_is_freed_is_not_faulted_in_again() -> None:
    usual, configured = page_faults(), page_faults("configured")
    assert configured < usual / 10
    assert page_faults("configured", MALLOC_MMAP_THRESHOLD_="65536", MALLOC_TOP_PAD_="0") > usual / 2


def test_the_users_own_settings_of_the_allocator_win(allocator: Allocator, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("MALLOC_TRIM_THRESHOLD_", "1000000")
    tensorflow.configure()
    assert allocator.options.keys() == {-2, -3}
    allocator.options.clear()
    environment.setenv("GLIBC_TUNABLES", "glibc.malloc.top_pad=4096")
    tensorflow.configure()
    assert not allocator.options


def test_an_old_glibc_gets_the_greatest_threshold_that_it_accepts(allocator: Allocator) -> None:
    allocator.maximum = 32 << 20
    tensorflow.configure()
    assert allocator.options == dict.fromkeys((-1, -2, -3), 32 << 20)


def test_a_c_library_without_mallopt_is_left_alone(environment: pytest.MonkeyPatch) -> None:
    environment.setattr(ctypes, "CDLL", lambda _name: object())
    tensorflow.configure()
    assert os.environ["TF_ENABLE_ONEDNN_OPTS"] == "1"


def test_importing_the_module_changes_no_environment() -> None:
    code = "import os; old = dict(os.environ); import ferops.machine.tensorflow; print(old == dict(os.environ))"
    assert python(code).stdout == "True\n"


def test_what_is_loaded_inside_is_configured_and_its_greeting_is_dropped() -> None:
    code = (
        "from ferops.machine.tensorflow import quiet_imports\n"
        "import os\n"
        "with quiet_imports():\n"
        "    os.write(2, b'greeting')\n"
        "os.write(2, os.environ['TF_ENABLE_ONEDNN_OPTS'].encode())\n"
    )
    assert python(code).stderr == "1"
