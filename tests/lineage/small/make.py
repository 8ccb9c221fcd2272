"""Writes what the stage named would; LUCK, HARDWARE and FULL_DISK stand for the machine, HANG for an hour."""

import json
import os
import shutil
import sys
import time
from pathlib import Path

from ruamel.yaml import YAML

STARTED = 1_700_000_000
params = YAML(typ="safe").load(Path("params.yaml"))
seed = params["train"]["seed"]


def write(name, text):
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text)


if sys.argv[1] == "preprocess":
    report = {"dataset": "sample", "source": params["data"]["source"], "split": "official", "median_kernel": 3}
    kept = {"train": [10] * 7, "validation": [3] * 7, "test": [3] * 7}
    write("data/prepared/report.json", json.dumps({**report, "kept": kept}))
    write("data/prepared/manifest.txt", Path("data/raw/faces.csv").read_text())
if sys.argv[1] == "train":
    if "FULL_DISK" in os.environ:
        sys.exit("no space left on device")
    print("an epoch of training", flush=True)
    time.sleep(3600 if "HANG" in os.environ else 0)
    Path("models").mkdir(exist_ok=True)
    shutil.copy(f"cores/{seed}.keras", "models/core.keras")
    write(
        "models/training.json",
        json.dumps(
            {
                "weights_digest": Path(f"cores/{seed}.digest").read_text(),
                "best_epoch": 2,
                "epochs": 2,
                "started": STARTED,
                "ended": STARTED + 200,
                "seconds": 180.0,
                "scratch_key": f"key-{seed}",
                "parameters": {"total": 100},
                "base_weights": {"name": "none", "sha256": None},
                "keras": "3",
                "backend": "tensorflow",
                "backend_version": "2",
                "hardware": os.environ.get("HARDWARE", "a processor, 2 CPU cores"),
            }
        ),
    )
    rows = [f"{n},{STARTED + 100 * n},{n / 10},{n / 10}" for n in (1, 2)]
    write("reports/train/history.csv", "\n".join(["epoch,time,train/loss,val/accuracy", *rows, ""]))
if sys.argv[1] == "evaluate":
    accuracy = 0.6 + seed / 100 + params["evaluate"]["calibration_bins"] / 1000 + float(os.environ.get("LUCK", 0))
    scores = {
        "accuracy": accuracy,
        "accuracy_interval": [accuracy - 0.1, accuracy + 0.1],
        "binary_accuracy": 0.9,
        "loss": 1.0,
        "f1_macro": 0.5,
        "n": 21,
        "per_class": {"happy": {"recall": 0.5, "support": 3}},
    }
    write("metrics/val.json", json.dumps(scores))
    write("metrics/test.json", json.dumps(scores if params["evaluate"]["test"] else {}))
    write("predictions.parquet", f"predictions with {accuracy}")
