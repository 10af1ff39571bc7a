"""Latency, with a clock that the test moves: which passes are timed, and what is computed from their durations."""

import numpy as np
import pytest
import torch
from torch import nn

from unmask.networks import latency
from unmask.networks.latency import BUDGET, PASSES, measure_latency, time_passes
from unmask.reporting.cost import cost, latency_words


class Clock:
    """A clock that only stands at another time after `work`; `reads` counts how often it was read."""

    def __init__(self):
        self.now, self.reads = 100.0, 0

    def __call__(self):
        self.reads += 1
        return self.now

    def work(self, seconds):
        self.now += seconds


def timed(durations):
    """The result for passes of these durations in s, and the number of passes."""
    clock, given = Clock(), iter(durations)
    result = time_passes(lambda: clock.work(next(given)), clock)
    return result, len(durations) - len(list(given))


def test_the_median_of_at_most_twenty_passes_after_one_that_is_not_timed():
    durations = np.random.default_rng(0).uniform(0.001, 0.009, 30)
    (milliseconds, passes), calls = timed([7.0, *durations])
    assert (passes, calls) == (PASSES, PASSES + 1) == (20, 21)
    assert milliseconds == pytest.approx(1000 * np.median(durations[:20]))


def test_one_delayed_pass_does_not_move_the_median():
    (milliseconds, _), _ = timed([0.01, 0.01, 0.2, *[0.01] * 30])
    assert milliseconds == pytest.approx(10)


def test_passes_stop_when_the_time_is_used_up_but_one_is_always_timed():
    (milliseconds, passes), calls = timed([0.1] * 30)  # 0.1, 0.2 and 0.3 s: the fourth pass would start too late
    assert BUDGET == 0.25 and (passes, calls) == (3, 4) and milliseconds == pytest.approx(100)
    (milliseconds, passes), calls = timed([12.0, 10.0, 10.0])
    assert (milliseconds, passes, calls) == (pytest.approx(10_000), 1, 2)


class Worker(nn.Module):
    """A network whose pass takes `work` s, divided by the number of threads. What it saw is kept in `seen`."""

    def __init__(self, clock, work, seen):
        super().__init__()
        self.layer = nn.Linear(2, 1).train()
        self._pass = lambda x: self._note(x, clock, work, seen)

    def _note(self, x, clock, work, seen):
        threads = torch.get_num_threads()
        clock.work(work / threads)
        seen.append((threads, tuple(x.shape), torch.is_inference_mode_enabled()))

    def forward(self, x):
        self._pass(x)
        return self.layer(x)


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    assert torch.get_num_threads() == 2, "the number of threads was not restored"
    torch.set_num_threads(before)


def test_all_threads_and_one_thread(two_threads):
    clock, seen = Clock(), []
    network, x = Worker(clock, 0.016, seen), torch.zeros(1, 2)
    found = measure_latency(network, x, torch.device("cpu"), clock)
    assert {name: one.threads for name, one in found.items()} == {"cpu": 2, "cpu_1_thread": 1}
    assert found["cpu"].milliseconds == pytest.approx(8) and found["cpu_1_thread"].milliseconds == pytest.approx(16)
    assert found["cpu"].passes == 20 and found["cpu_1_thread"].passes == 16  # 16 * 0.016 s is more than 0.25 s
    assert [threads for threads, _, _ in seen] == [2] * 21 + [1] * 17
    assert {(shape, inference) for _, shape, inference in seen} == {((1, 2), True)}
    assert network.training and network.layer.training, "it ran in eval mode, on a copy"
    assert found["cpu"].device and found["cpu"].device == found["cpu_1_thread"].device


def test_a_slow_network_is_measured_once_and_not_with_one_thread(two_threads):
    clock, seen = Clock(), []
    found = measure_latency(Worker(clock, 6.0, seen), torch.zeros(1, 2), None, clock)
    assert found["cpu"][1:] == (2, pytest.approx(3000), 1) and "cpu_1_thread" not in found and len(seen) == 2


def test_a_single_thread_is_measured_once():
    clock, seen, before = Clock(), [], torch.get_num_threads()
    torch.set_num_threads(1)
    found = measure_latency(Worker(clock, 0.1, seen), torch.zeros(1, 2), None, clock)
    torch.set_num_threads(before)
    assert (
        list(found) == ["cpu_1_thread"] and found["cpu_1_thread"][1:] == (1, pytest.approx(100), 3) and len(seen) == 4
    )


def test_a_network_that_fails_leaves_the_number_of_threads(two_threads):
    class Fails(nn.Module):
        def forward(self, x):
            raise RuntimeError("does not fit")

    with pytest.raises(RuntimeError, match="does not fit"):
        measure_latency(Fails(), torch.zeros(1, 2))


def test_a_pass_on_a_gpu_ends_when_the_gpu_has_finished(monkeypatch):
    """A kernel is only queued by the call; without the synchronization, the queueing would be timed."""
    clock = Clock()
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: clock.work(0.005))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    found = latency._on_gpu(nn.Linear(2, 1), {"x": torch.zeros(1, 2)}, torch.device("cpu"), clock)
    assert found == ("NVIDIA H200", None, pytest.approx(5), 20)


def entry(device, threads, milliseconds):
    return {"device": device, "threads": threads, "milliseconds": milliseconds, "passes": 20}


def test_words():
    one, two = entry("AMD EPYC 7R13", 1, 8.1234), entry("AMD EPYC 7R13", 2, 0.0499)
    assert latency_words({"frames": None, "cpu_1_thread": one}) == {
        "Latency": "8.12 ms on 1 thread of AMD EPYC 7R13, per image at batch size 1"
    }
    gpu = entry("NVIDIA H200", None, 1234.5)
    assert latency_words({"frames": 8, "gpu": gpu, "cpu": two, "cpu_1_thread": one}) == {
        "Latency": "8.12 ms on 1 thread of AMD EPYC 7R13, 0.0499 ms on 2 threads of AMD EPYC 7R13, 1,234 ms on "
        "NVIDIA H200, per clip of 8 frames at batch size 1"
    }
    assert latency_words(None) == latency_words({}) == {}, "old runs, and latency=false"


def test_numbers_for_tables():
    metrics = {"parameters": 147_265, "flops": 280_000_000, "latency": {"frames": 8, "gpu": entry("GPU", None, 0.5)}}
    assert cost(metrics) == {"parameters": 147_265, "gflops": 0.28, "gpu": 0.5}
    assert cost({"parameters": 3, "flops": None}) == {"parameters": 3} and cost({}) == {}
