import subprocess
import sys

import psutil

from ferops.machine import processes

STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(600)
"""


def test_this_process_is_local_and_runs() -> None:
    identity = processes.this_process()
    host, pid, created = identity.split(" ")
    assert processes.is_local(identity)
    assert processes.is_running(identity)
    assert processes.describe(identity) == f"process {pid} on {host}"
    assert not processes.is_running(f"{host} {pid} {float(created) - 3600:.0f}"), "another process had this ID before"
    assert not processes.is_local(f"elsewhere {pid} {created}")
    assert not processes.is_running(f"elsewhere {pid} {created}")


def test_a_damaged_identity_is_described_and_does_not_run() -> None:
    assert processes.describe("") == "process ? on "
    assert not processes.is_running("")


def test_a_process_that_ignores_sigterm_is_killed_after_the_grace_period() -> None:
    started = subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, text=True)
    assert started.stdout
    assert started.stdout.readline() == "ready\n"
    process = psutil.Process(started.pid)
    processes.end([process], grace=0.2)
    assert not processes.is_alive(process)
    processes.end([process], grace=0.2)  # one that has ended is no error
    started.stdout.close()
    started.wait()
