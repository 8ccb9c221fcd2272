"""Grid and random search: the trials of a search space, and the tables of their results."""

import hashlib
import itertools
import json
import math
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import pandas as pd

from ferops import params
from ferops.errors import FeropsError
from ferops.orchestration.pipeline import run_folders
from ferops.orchestration.sweeps.experiments import CLOSED, Trial, TrialResult
from ferops.params import Params

Method = Literal["grid", "random"]
Space = Mapping[str, Any]
"""Dotted key of params.yaml -> list of values; random search also takes `{"min": a, "max": b, "log": bool}`."""

MAX_TRIALS: Final = 1000

_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?")


class BadSpace(FeropsError):
    """The search space or its method is not valid; the message names the key."""


def common(space: Space, recipe: str | None, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that all trials share, nested: recipe, overrides, and a test split that stays closed.

    Raises:
        BadSpace: an override opens the test split, or is searched too.
        BadParams: there is no such recipe or key.
    """
    for key in overrides:
        if key == CLOSED:
            raise BadSpace(f"{CLOSED} cannot be set: it is false in every trial, a sweep chooses on validation")
        if key in space:
            raise BadSpace(f"{key} is in the space and among the overrides; it can only be one")
    return run_folders.settings(recipe, {**overrides, CLOSED: False})


def plan(
    name: str,
    space: Space,
    base: Params,
    *,
    method: Method = "grid",
    trials: int | None = None,
    seed: int = 0,
    common: Mapping[str, Any] = {},
    commit: str = "",
) -> list[Trial]:
    """Return the distinct trials of a search, their values checked, in an order that follows from the arguments.

    Args:
        name: of the sweep; the names of the trials begin with it.
        space: what to search.
        base: the parameters that every trial starts from.
        method: grid, every combination; random, as many as `trials` says.
        trials: number of random trials; fewer where the space has no more.
        seed: of random search.
        common: the settings that all trials share, nested.
        commit: of the clone. With `common` and the values it makes the name of a trial.

    Raises:
        BadSpace: name, space or method is not valid.
        BadParams: naming the key and the value that params.yaml would not take.
    """
    if not _NAME.fullmatch(name):
        raise BadSpace(f"{name!r} cannot name a sweep: up to 48 small letters, digits and dashes, no dash at the ends")
    known = params.flatten(base)
    _check(space, known)
    if method == "grid":
        if trials is not None:
            raise BadSpace("a grid tries every combination: `trials` belongs to method random")
        found = _grid(space)
    else:
        found = _random(space, known, trials, seed)
    distinct = {str(values): values for values in (_checked(base, values) for values in found)}
    return [
        Trial(f"{name}-{digest([commit, common, values])}", values, run_folders.with_values(common, values))
        for values in distinct.values()
    ]


def table(results: Sequence[TrialResult]) -> pd.DataFrame:
    """Return a row for each trial: values, accuracy on validation with its 95% interval, macro F1, images, run."""
    rows = []
    for result in results:
        scores = result.scores or {}
        low, high = scores.get("accuracy_interval", (math.nan, math.nan))
        rows.append(
            {
                **result.trial.values, "accuracy": result.accuracy, "low": low, "high": high,
                "f1_macro": scores.get("f1_macro", math.nan), "images": scores.get("n", 0),
                "experiment": result.trial.name, "run": result.run_id, "failed": result.reason,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def cells(results: Sequence[TrialResult]) -> list[list[str]]:
    """Return the same as text, narrow enough for a terminal; the first row has the names of the columns."""
    keys = list(results[0].trial.values)
    last = [key.rpartition(".")[2] for key in keys]
    has_failures = any(result.reason for result in results)
    names = [short if last.count(short) == 1 else key for key, short in zip(keys, last, strict=True)]
    rows = [[*names, "accuracy", "95% interval", "F1 macro", "experiment", *(["failed"] if has_failures else [])]]
    for trial, scores, reason, *_ in results:
        figures = ["-"] * 3
        if scores:
            low, high = scores["accuracy_interval"]
            figures = [f"{scores['accuracy']:.4f}", f"{low:.3f}-{high:.3f}", f"{scores['f1_macro']:.4f}"]
        values = [f"{value:g}" if isinstance(value, float) else str(value) for value in trial.values.values()]
        rows.append([*values, *figures, trial.name, *([reason] if has_failures else [])])
    return rows


def read(assignment: str) -> tuple[str, Any]:
    """Parse an argument of `--over`: `KEY=VALUE,VALUE`, or a range as `train.learning_rate=0.0001..0.01 log`.

    Raises:
        BadSpace: it is neither.
    """
    key, equals, text = assignment.partition("=")
    if not equals or not key or not text:
        raise BadSpace(f"{assignment!r}: expected KEY=VALUE,VALUE or KEY=MIN..MAX, `log` after it for a log scale")
    numbers, _, scale = text.strip().partition(" ")
    if ".." in numbers and scale.strip() in ("", "log"):
        low, _, high = numbers.partition("..")
        return key, {"min": _value(low), "max": _value(high), "log": scale.strip() == "log"}
    return key, [_value(part) for part in text.split(",")]


def digest(value: Any) -> str:
    """Return eight hexadecimal digits of the hash of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]


def _value(text: str) -> Any:
    """Parse JSON (`0.3`, `true`); other text is a string."""
    try:
        return json.loads(text)
    except ValueError:
        return text.strip()


def _check(space: Space, known: Mapping[str, Any]) -> None:
    if not space:
        raise BadSpace('the space is empty; name a parameter and its values: {"train.learning_rate": [0.0001, 0.0003]}')
    for key, choices in space.items():
        if key == CLOSED:
            raise BadSpace(f"{CLOSED} cannot be searched: it is false in every trial, a sweep chooses on validation")
        if key not in known:
            raise BadSpace(f"{key} is no parameter; params.yaml has, by its dotted name: {_siblings(key, known)}")
        if isinstance(choices, Mapping):
            _check_range(key, choices, known[key])
        elif not isinstance(choices, list | tuple) or not choices:
            raise BadSpace(f"{key}: expected a list of values, found {choices!r}")


def _check_range(key: str, given: Mapping[str, Any], current: Any) -> None:
    low: Any = given.get("min")
    high: Any = given.get("max")
    log = given.get("log", False)
    if not given.keys() <= {"min", "max", "log"} or not _is_number(low) or not _is_number(high) or low >= high:
        wanted = '{"min": number, "max": a greater one, "log": true or false}'
        raise BadSpace(f"{key}: expected {wanted}, found {given!r}")
    if not isinstance(log, bool) or (log and low <= 0):
        raise BadSpace(f"{key}: `log` is true or false, and a log scale starts above 0, found {given!r}")
    if not _is_number(current):
        raise BadSpace(f"{key} is {current!r}, no number: give a list of values, not a range")
    if isinstance(current, int) and math.ceil(low) > math.floor(high):
        raise BadSpace(f"{key} takes whole numbers, and none is from {low:g} to {high:g}")


def _grid(space: Space) -> list[dict[str, Any]]:
    for key, choices in space.items():
        if isinstance(choices, Mapping):
            raise BadSpace(f"{key} is a range, which has no grid: give a list of values, or take method random")
    size = math.prod(len(choices) for choices in space.values())
    if size > MAX_TRIALS:
        raise BadSpace(f"the grid has {size:,} trials; {MAX_TRIALS:,} at most")
    keys = sorted(space)
    return [dict(zip(keys, chosen, strict=True)) for chosen in itertools.product(*(space[key] for key in keys))]


def _random(space: Space, known: Mapping[str, Any], trials: int | None, seed: int) -> list[dict[str, Any]]:
    if trials is None or not 1 <= trials <= MAX_TRIALS:
        raise BadSpace(f"random search needs `trials`, from 1 to {MAX_TRIALS:,}; found {trials}")
    generator = random.Random(seed)  # noqa: S311 # a search, not a secret
    found: dict[str, dict[str, Any]] = {}
    keys = sorted(space)  # a server may give them back in another order
    for _ in range(100 * trials):  # a small space may have fewer distinct combinations
        values = {key: _sample(space[key], known[key], generator) for key in keys}
        found.setdefault(str(values), values)
        if len(found) == trials:
            break
    return list(found.values())


def _sample(choices: Any, current: Any, generator: random.Random) -> Any:
    if not isinstance(choices, Mapping):
        return choices[generator.randrange(len(choices))]
    low, high = float(choices["min"]), float(choices["max"])
    scale, inverse = (math.log, math.exp) if choices.get("log") else (float, float)
    number = inverse(generator.uniform(scale(low), scale(high)))
    if isinstance(current, int):
        return min(max(round(number), math.ceil(low)), math.floor(high))
    return min(max(float(f"{number:.4g}"), low), high)  # four significant digits


def _checked(base: Params, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values in the types of the parameters: 1 and 1.0 are one learning rate."""
    changed = run_folders.with_values(base.model_dump(by_alias=True), values)
    listed = ", ".join(f"{key}={value}" for key, value in values.items())
    checked = params.flatten(params.check(changed, f"trial {listed}"))
    return {key: checked[key] for key in sorted(values)}


def _siblings(key: str, known: Mapping[str, Any]) -> str:
    section = [name for name in known if name.partition(".")[0] == key.partition(".")[0]]
    return ", ".join(section or sorted({name.partition(".")[0] + ".…" for name in known}))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
