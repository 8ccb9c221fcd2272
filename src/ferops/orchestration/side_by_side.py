"""Run many tasks of one kind, in turn or side by side on a Dask cluster."""

import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from prefect import State, Task
from prefect.client.orchestration import get_client
from prefect.futures import PrefectFuture, as_completed
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.task_runners import TaskRunner

from ferops.errors import FeropsError

Item = TypeVar("Item")


class NoDask(FeropsError):
    """Tasks cannot run side by side: prefect-dask is not installed, or no cluster is named."""


def task_runner(dask: int | str | None, flow: str) -> TaskRunner | None:
    """Return the task runner of a Dask cluster; None without one: the tasks run in turn.

    Args:
        dask: a number of worker processes on this machine, or the address of a running cluster.
        flow: name of the flow's module.

    Raises:
        NoDask: prefect-dask is not installed, or `dask` is neither.
    """
    if dask is None:
        return None
    try:
        import cloudpickle  # type: ignore[import-untyped]
        from prefect_dask import DaskTaskRunner  # type: ignore[attr-defined]
    except ImportError:
        raise NoDask("prefect-dask is not installed: pip install prefect-dask (it is in the extra `team`)") from None
    logging.getLogger("distributed").setLevel(logging.WARNING)
    # a task takes its flow along, which a worker would import by name, and flows/ is on no path there
    cloudpickle.register_pickle_by_value(sys.modules[flow])
    if "://" in str(dask):
        return DaskTaskRunner(address=str(dask))
    if not str(dask).isdigit() or int(dask) < 1:
        raise NoDask(f"dask: expected a number of processes or an address as tcp://127.0.0.1:8786, found {dask!r}")
    # it listens on loopback alone; what it runs bounds its own memory, or is a process that Dask does not see
    local = {
        "n_workers": int(dask), "threads_per_worker": 1, "processes": True, "host": "127.0.0.1",
        "dashboard_address": "127.0.0.1:0", "memory_limit": 0,
    }  # fmt: skip
    return DaskTaskRunner(cluster_kwargs=local)


def run(
    task: Task[..., Any],
    items: Iterable[Item],
    arguments: Callable[[Item], dict[str, Any] | None],
    runner: TaskRunner | None = None,
) -> Iterator[tuple[Item, State | None]]:
    """Run a task for each item, and yield the item with the task's state as it ends.

    Args:
        task: what to run.
        items: the next one is only asked for when it can be run.
        arguments: of the task, from an item; None where nothing is to run, and the state is None too.
        runner: of `task_runner`; runs as many at a time as its cluster has workers. In turn by default.
    """
    waiting = ((item, arguments(item)) for item in items)
    if runner is None:
        for item, given in waiting:
            yield item, None if given is None else task(**given, return_state=True)
        return
    # the temporary server of this process is unknown to other processes, and each would start its own
    with get_client(sync_client=True) as client:
        url = str(client.api_url)
    with temporary_settings({PREFECT_API_URL: url}), runner:
        workers = max(1, sum(runner.client.nthreads().values()))  # type: ignore[attr-defined]
        running: dict[PrefectFuture[Any], Item] = {}
        while True:
            while len(running) < workers and (chosen := next(waiting, None)):
                item, given = chosen
                if given is None:
                    yield item, None
                else:
                    running[runner.submit(task, given)] = item
            if not running:
                return
            future = next(as_completed(list(running)))
            future.wait()
            yield running.pop(future), future.state
