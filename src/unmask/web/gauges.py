"""The metrics that Prometheus reads from `GET /metrics`. No label contains a file name, an address or a job ID."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from unmask.web.jobs import Desk, Job
from unmask.web.pool import Pool

BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)  # s


class Gauges:
    """Counters of one server, in a registry of its own."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter("unmask_requests", "Requests", ["method", "route", "status"], registry=registry)
        self.jobs = Counter("unmask_jobs", "Files, by answer or problem", ["outcome"], registry=registry)
        self.seconds = Histogram("unmask_job_seconds", "Time per file, s", buckets=BUCKETS, registry=registry)
        self.waiting = Gauge("unmask_waiting", "Files that wait", registry=registry)
        self.results = Gauge("unmask_jobs_kept", "Jobs in memory, finished or not", registry=registry)
        self.processes = Gauge("unmask_processes", "Processes that can examine files", registry=registry)
        self.restarts = Gauge("unmask_restarts", "Processes that were replaced", registry=registry)

    def observe(self, job: Job) -> None:
        """Count a job that has ended."""
        outcome = job.problem.code if job.problem else job.found.answer.answer.name.lower() if job.found else "unknown"
        self.jobs.labels(outcome).inc()
        self.seconds.observe(job.seconds)

    def text(self, desk: Desk, pool: Pool) -> bytes:
        """Return everything in Prometheus's text format."""
        self.waiting.set(desk.waiting)
        self.results.set(len(desk.jobs))
        self.processes.set(pool.ready)
        self.restarts.set(pool.restarts)
        return generate_latest(self.registry)
