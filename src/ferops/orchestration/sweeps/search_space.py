"""The search space of a sweep: parsed, checked against params.yaml before anything runs, and the names of trials."""

import hashlib
import itertools
import json
import math
import re
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

from ferops import params
from ferops.errors import FeropsError
from ferops.orchestration.pipeline import run_folders
from ferops.orchestration.sweeps.experiments import CLOSED, Trial
from ferops.params import Params

Method = Literal["grid", "random", "tpe"]
Space = Mapping[str, Any]
"""Dotted key of params.yaml -> list of values, or a range to sample from: `{"min": a, "max": b, "log": bool}`."""

MAX_TRIALS: Final = 1000

_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?")


class BadSpace(FeropsError):
    """The search space or its method is not valid; the message names the key."""


class Search(NamedTuple):
    """A search whose space and method are valid.

    Fields:
        name: of the sweep; the names of its trials begin with it.
        space: what to search, by sorted keys.
        method: grid, every combination; random; or tpe, the tree-structured Parzen estimator.
        trials: how many different ones.
        seed: of the sampler.
        base: the parameters that every trial starts from.
        common: the settings that all trials share, nested; they are in `base`.
        commit: of the clone.
    """

    name: str
    space: Space
    method: Method
    trials: int
    seed: int
    base: Params
    common: Mapping[str, Any]
    commit: str

    @property
    def key(self) -> str:
        """Tells it from other searches of the same name; the same one with more trials has the same key."""
        return digest([self.name, self.space, self.method, self.seed, self.common, self.commit])

    def trial(self, values: Mapping[str, Any]) -> Trial:
        """Return the trial of a combination; its name follows from commit, common settings and values.

        Raises:
            BadParams: naming the key and the value that params.yaml would not take.
        """
        changed = run_folders.with_values(self.base.model_dump(by_alias=True), values)
        listed = ", ".join(f"{key}={value}" for key, value in values.items())
        checked = params.flatten(params.check(changed, f"trial {listed}"))
        typed = {key: checked[key] for key in sorted(values)}  # 1 and 1.0 are one learning rate
        name = f"{self.name}-{digest([self.commit, self.common, typed])}"
        return Trial(name, typed, run_folders.with_values(self.common, typed))

    def combinations(self) -> list[dict[str, Any]]:
        """Return the combinations of all values, those that are one trial once; of a range its ends alone.

        Only the first `MAX_TRIALS` are returned: of a bigger grid there is no search.

        Raises:
            BadParams: naming the key and the value that params.yaml would not take.
        """
        choices = [[one["min"], one["max"]] if isinstance(one, Mapping) else one for one in self.space.values()]
        found = (dict(zip(self.space, chosen, strict=True)) for chosen in itertools.product(*choices))
        return list({self.trial(one).name: one for one in itertools.islice(found, MAX_TRIALS)}.values())


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
    name: str | None,
    space: Space,
    base: Params,
    *,
    method: Method | None = None,
    trials: int | None = None,
    seed: int = 0,
    common: Mapping[str, Any] = {},
    commit: str = "",
) -> Search:
    """Check a search. The values of lists and the ends of ranges are ones that params.yaml takes.

    Args:
        name: of the sweep; by default it follows from the other arguments, without `trials` and `commit`.
        space: what to search.
        base: the parameters that every trial starts from.
        method: by default grid where the space has lists alone, else tpe.
        trials: number of different trials of random search and TPE; a grid has all combinations.
        seed: of the sampler.
        common: the settings that all trials share, nested; they are in `base`.
        commit: of the clone.

    Raises:
        BadSpace: name, space or method is not valid.
        BadParams: naming the key and the value that params.yaml would not take.
    """
    known = params.flatten(base)
    _check(space, known)
    ranges = {key: _range(choices, known[key]) for key, choices in space.items() if isinstance(choices, Mapping)}
    method = method or ("tpe" if ranges else "grid")
    space = dict(sorted({**space, **ranges}.items()))  # a server may give the keys back in another order
    if name is None:
        name = f"sweep-{digest([space, method, seed, common])}"
    if not _NAME.fullmatch(name):
        raise BadSpace(f"{name!r} cannot name a sweep: up to 48 small letters, digits and dashes, no dash at the ends")
    if method == "grid":
        if trials is not None:
            raise BadSpace("a grid tries every combination: `trials` belongs to the methods random and tpe")
        if ranges:
            raise BadSpace(
                f"{next(iter(ranges))} is a range, which has no grid: give a list of values, or take method tpe"
            )
        if (size := math.prod(len(choices) for choices in space.values())) > MAX_TRIALS:
            raise BadSpace(f"the grid has {size:,} trials; {MAX_TRIALS:,} at most")
    elif trials is None or not 1 <= trials <= MAX_TRIALS:
        raise BadSpace(f"method {method} needs `trials`, from 1 to {MAX_TRIALS:,}; found {trials}")
    search = Search(name, space, method, trials or 0, seed, base, common, commit)
    size = len(search.combinations())
    return search._replace(trials=trials or size)


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


def _range(given: Mapping[str, Any], current: Any) -> dict[str, Any]:
    low, high = given["min"], given["max"]
    whole = {"min": math.ceil(low), "max": math.floor(high)} if isinstance(current, int) else {"min": low, "max": high}
    return {**whole, "log": given.get("log", False)}


def _siblings(key: str, known: Mapping[str, Any]) -> str:
    section = [name for name in known if name.partition(".")[0] == key.partition(".")[0]]
    return ", ".join(section or sorted({name.partition(".")[0] + ".…" for name in known}))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
