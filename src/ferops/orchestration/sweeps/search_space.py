"""The search space of a sweep: parsed, checked against params.yaml before anything runs, and the names of trials."""

import itertools
import math
import re
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import BaseModel, FiniteFloat

from ferops import params
from ferops.errors import FeropsError
from ferops.orchestration import terminal
from ferops.orchestration.pipeline import run_folders
from ferops.orchestration.sweeps import experiments
from ferops.orchestration.sweeps.experiments import CLOSED, Trial
from ferops.params import Params

Method = Literal["grid", "random", "tpe"]
Distribution = CategoricalDistribution | IntDistribution | FloatDistribution
Space = Mapping[str, Any]
"""Dotted key of params.yaml -> list of values, or a range to sample from: `{"min": a, "max": b, "log": bool}`."""

MAX_TRIALS: Final = 1000

_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?")
_RANGE: Final = re.compile(r"(?P<min>[^\s,]+)\.\.(?P<max>[^\s,]+)(?P<log>\s+log)?")


class BadSpace(FeropsError):
    """The search space or its method is not valid; the message names the key."""


class Range(BaseModel, extra="forbid", strict=True):
    """An interval that Optuna samples a number from."""

    min: FiniteFloat
    max: FiniteFloat
    log: bool = False


class Search(NamedTuple):
    """A search whose space and method are valid.

    Fields:
        name: of the sweep; the names of its trials begin with it.
        space: what Optuna samples each parameter from, by sorted keys.
        method: grid, every combination; random; or tpe, the tree-structured Parzen estimator.
        trials: how many different ones.
        seed: of the sampler.
        base: the parameters that every trial starts from.
        common: the settings that all trials share, nested; they are in `base`.
        commit: that they start from.
    """

    name: str
    space: Mapping[str, Distribution]
    method: Method
    trials: int
    seed: int
    base: Params
    common: Mapping[str, Any]
    commit: str

    @property
    def key(self) -> str:
        """Tells it from other searches of the same name; the same one with more trials has the same key."""
        return run_folders.digest([self.name, self.space, self.method, self.seed, self.common, self.commit])

    def trial(self, values: Mapping[str, Any]) -> Trial:
        """Return the trial of a combination; its name follows from commit, common settings and values.

        Raises:
            BadParams: naming the key and the value that params.yaml would not take.
        """
        changed = run_folders.with_values(self.base.model_dump(by_alias=True), values)
        listed = ", ".join(f"{key}={value}" for key, value in values.items())
        checked = params.flatten(params.check(changed, f"trial {listed}"))
        typed = {key: checked[key] for key in sorted(values)}  # 1 and 1.0 are one learning rate
        name = run_folders.experiment_name(self.name, [self.common, typed], self.commit)
        return Trial(name, typed, run_folders.with_values(self.common, typed))

    def combinations(self) -> list[dict[str, Any]]:
        """Return the combinations of all values, those that are one trial once; of a range its ends alone.

        Only the first `MAX_TRIALS` are returned: of a bigger grid there is no search.

        Raises:
            BadParams: naming the key and the value that params.yaml would not take.
        """
        choices = [
            one.choices if isinstance(one, CategoricalDistribution) else (one.low, one.high)
            for one in self.space.values()
        ]
        found = (dict(zip(self.space, chosen, strict=True)) for chosen in itertools.product(*choices))
        return list({self.trial(one).name: one for one in itertools.islice(found, MAX_TRIALS)}.values())


def plan(
    space: Space,
    *,
    name: str | None = None,
    method: Method | None = None,
    trials: int | None = None,
    seed: int = 0,
    recipe: str | None = None,
    overrides: Mapping[str, Any] = {},
) -> Search:
    """Check a search. The values of lists and the ends of ranges are ones that params.yaml takes.

    Args:
        space: what to search.
        name: of the sweep; by default it follows from the other arguments, without `trials`.
        method: by default grid where the space has lists alone, else tpe.
        trials: number of different trials of random search and TPE; a grid has all combinations.
        seed: of the sampler.
        recipe: name of a file in recipes/, for all trials.
        overrides: parameters of all trials, by their dotted keys. Their test split stays closed.

    Raises:
        BadSpace: name, space or method is not valid, or a parameter cannot be searched or set.
        BadParams: there is no such recipe or parameter, or params.yaml would not take a value.
        RepositoryError: this is no git repository.
    """
    if not space:
        raise BadSpace('the space is empty; name a parameter and its values: {"train.learning_rate": [0.0001, 0.0003]}')
    if CLOSED in {*space, *overrides}:
        raise BadSpace(f"{CLOSED} cannot be searched or set: it is false in every trial, a sweep chooses on validation")
    if both := space.keys() & overrides.keys():
        raise BadSpace(f"{', '.join(both)}: in the space and among the overrides; it can only be one")
    common = run_folders.settings(recipe, {**overrides, CLOSED: False})
    base = experiments.base(common)
    known = params.flatten(base)
    run_folders.check_keys(space, known)
    # sorted, because a server may give the keys back in another order
    distributions = {key: _distribution(key, space[key], known[key]) for key in sorted(space)}
    sizes = [len(one.choices) for one in distributions.values() if isinstance(one, CategoricalDistribution)]
    has_ranges = len(sizes) < len(distributions)
    method = method or ("tpe" if has_ranges else "grid")
    name = f"sweep-{run_folders.digest([distributions, method, seed, common])}" if name is None else name
    if not _NAME.fullmatch(name):
        raise BadSpace(f"{name!r} cannot name a sweep: up to 48 small letters, digits and dashes, no dash at the ends")
    if method == "grid":
        if has_ranges or trials is not None:
            raise BadSpace("a grid tries every combination: ranges and `trials` belong to the methods random and tpe")
        trials = math.prod(sizes)
        if trials > MAX_TRIALS:
            raise BadSpace(
                f"the grid has {trials:,} trials; {MAX_TRIALS:,} at most: give fewer values, or random search"
            )
    if trials is None or not 1 <= trials <= MAX_TRIALS:
        raise BadSpace(f"method {method} needs `trials`, from 1 to {MAX_TRIALS:,}; found {trials}")
    search = Search(name, distributions, method, trials, seed, base, common, run_folders.head())
    combinations = search.combinations()  # which checks the values
    return search._replace(trials=len(combinations)) if method == "grid" else search


def choices(text: str) -> Any:
    """Parse the value of `--over`: `VALUE,VALUE`, or a range as `0.0001..0.01 log`."""
    if found := _RANGE.fullmatch(text.strip()):
        low, high, log = found.groups()
        return {"min": terminal.value(low), "max": terminal.value(high), "log": log is not None}
    return terminal.value(f"[{text}]")


def _distribution(key: str, choices: Any, current: Any) -> Distribution:
    """Return what Optuna samples a parameter from: the values of a list, or a range in the parameter's own type."""
    try:
        if isinstance(choices, list | tuple):
            return CategoricalDistribution(list(dict.fromkeys(choices)))
        given = Range.model_validate(choices)
        if isinstance(current, int):
            return IntDistribution(math.ceil(given.min), math.floor(given.max), given.log)
        return FloatDistribution(given.min, given.max, given.log)
    except (TypeError, ValueError):
        raise BadSpace(
            f'{key}: expected a list of values, or a range as {{"min": 1, "max": 9, "log": true}} that holds a number '
            f"of the parameter's type, those of a log scale above 0; found {choices!r}"
        ) from None
