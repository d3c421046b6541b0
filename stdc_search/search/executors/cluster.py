"""Runs trials on the machines of a Ray cluster."""

from __future__ import annotations

import threading
import warnings
from concurrent.futures import Future

from stdc_search.errors import UserError, brief
from stdc_search.search.executors.executor import GivenUp, Lost, Outcome, translated
from stdc_search.search.executors.work import work
from stdc_search.spec.executor import RaySpec
from stdc_search.trial.trial import TrialJob


class Cluster:
    """The machines of a Ray cluster. Where one is lost, another resumes its trial from the last checkpoint."""

    def __init__(self, spec: RaySpec) -> None:
        try:
            import ray
            from ray.exceptions import RayError
        except ModuleNotFoundError:
            raise UserError("the executor `ray` needs a package; type: pip install ray") from None
        self.ray, self.spec = ray, spec
        try:
            ray.init(address=spec.address, log_to_driver=False, configure_logging=False)
        except (ConnectionError, RuntimeError, ValueError, RayError) as error:
            raise UserError(
                f"no Ray cluster at `search.executor.address` {spec.address!r} ({brief(error)}); "
                "start one with: ray start --head"
            ) from None
        self.task = ray.remote(work).options(
            num_cpus=spec.cpus_per_trial, num_gpus=spec.gpus_per_trial, max_retries=spec.retries
        )
        if not self.slots:
            needs = f"{spec.cpus_per_trial:g} CPUs and {spec.gpus_per_trial:g} GPUs"
            there = self.ray.cluster_resources()
            has = f"{there.get('CPU', 0):g} and {there.get('GPU', 0):g}"
            message = f"the cluster has no room for a candidate: it needs {needs}, and all machines together have {has}"
            warnings.warn(
                f"{message}; the search waits for a machine; or stop it and request fewer resources", stacklevel=2
            )

    @property
    def slots(self) -> int:
        there = self.ray.cluster_resources()
        needs = {"CPU": self.spec.cpus_per_trial, "GPU": self.spec.gpus_per_trial}
        return int(min(there.get(name, 0) / need for name, need in needs.items() if need))

    def submit(self, job: TrialJob) -> Future[Outcome]:
        reference = self.task.remote(job)
        late = threading.Event()

        def stop() -> None:
            late.set()
            self.ray.cancel(reference, force=True)

        timer = threading.Timer(self.spec.timeout or threading.TIMEOUT_MAX, stop)
        timer.daemon = True
        timer.start()

        def meaning(error: BaseException) -> BaseException:
            timer.cancel()
            if late.is_set():
                return GivenUp(f"took longer than `search.executor.timeout`, {self.spec.timeout:g} s")
            if isinstance(error, self.ray.exceptions.RayTaskError):
                return getattr(error, "cause", error)
            if isinstance(error, self.ray.exceptions.RayError):
                machine_is_gone = isinstance(error, self.ray.exceptions.NodeDiedError)
                return Lost(f"{type(error).__name__}: {brief(error)}", from_outside=machine_is_gone)
            return error

        done = translated(reference.future(), meaning)
        done.add_done_callback(lambda _: timer.cancel())
        return done

    def close(self) -> None:
        self.ray.shutdown()
