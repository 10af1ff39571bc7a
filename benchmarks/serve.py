"""Compare a request to a warm server with the bare detector and with a cold `unmask predict`, and run a load test.

make bench ONLY=serve                                            everything; the load test has 50 clients for 120 s
python benchmarks/serve.py --load URL --seconds 15 --clients 50  only the load test, against a running server
"""

import argparse
import asyncio
import os
import resource
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
from _bench import OUT, Seconds, compare, report

PORT = 18_473
LOG = OUT / "serve.log"  # the log of the server, a line per request
ALLOWED = {200, 202, 429, 503}
GROWTH = 30  # MB: maximum growth of the server's memory in the second half of the load test


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--load", metavar="URL", help="only the load test, against this server")
    parser.add_argument("--run", type=Path, help="run folder of a detector (default: a small one is trained)")
    parser.add_argument("--seconds", type=float, default=120, help="duration of the load test (default: %(default)s)")
    parser.add_argument("--clients", type=int, default=50, help="number of clients in the test (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=30, help="timed requests of one client (default: %(default)s)")
    return parser.parse_args()


def picture() -> bytes:
    """Return a rendered portrait as a JPEG."""
    import start

    start.build()
    return next((start.PLACE / "raw/real").glob("*.jpg")).read_bytes()


def resident(url: str) -> float:
    """Return the resident memory of the server process without its children, MB."""
    text = httpx.get(f"{url}/metrics").text
    line = next(line for line in text.splitlines() if line.startswith("process_resident_memory_bytes"))
    return float(line.split()[1]) / 1e6


async def one_client(url: str, content: bytes, end: float, seen: Counter[int]) -> None:
    async with httpx.AsyncClient(timeout=60) as client:
        while time.monotonic() < end:
            found = await client.post(f"{url}/detect?wait=1", files={"file": ("a.jpg", content)})
            seen[found.status_code] += 1
            if found.status_code in (429, 503) and not int(found.headers.get("Retry-After", 0)):
                raise SystemExit(f"status {found.status_code} without Retry-After: {found.text}")
            await asyncio.sleep(0.2 if found.status_code in (429, 503) else 0.02)


async def load(url: str, content: bytes, seconds: float, clients: int) -> tuple[Counter[int], list[float]]:
    """Let many clients send pictures for a while; return the status codes, and the server's memory over time, MB."""
    seen: Counter[int] = Counter()
    end = time.monotonic() + seconds
    tasks = [asyncio.create_task(one_client(url, content, end, seen)) for _ in range(clients)]
    memory = []
    while time.monotonic() < end:
        memory.append(await asyncio.to_thread(resident, url))
        await asyncio.sleep(min(2.0, seconds / 10))
    await asyncio.gather(*tasks)
    return seen, memory


def check_load(url: str, content: bytes, seconds: float, clients: int) -> dict[str, Any]:
    """Run the load test and print what it found.

    Raises:
        SystemExit: a status is not in `ALLOWED`, no file was accepted, or the memory keeps growing.
    """
    seen, memory = asyncio.run(load(url, content, seconds, clients))
    half = len(memory) // 2
    grown = max(memory[half:]) - max(memory[: half or 1])
    print(f"  {clients} clients, {seconds:g} s: {dict(sorted(seen.items()))}")
    print(
        f"  memory of the server: {memory[0]:.0f} MB at first, {memory[-1]:.0f} MB at last, second half {grown:+.1f} MB"
    )
    if set(seen) - ALLOWED or not seen[200] + seen[202] or grown > GROWTH:
        raise SystemExit(f"expected only {sorted(ALLOWED)}, some answers, and at most {GROWTH} MB of growth")
    return {"statuses": dict(seen), "memory": memory}


def under_load(run: Path, content: bytes, seconds: float, clients: int) -> dict[str, Any]:
    """Run the load test. All clients share one address, so the limit per client is raised: the queue is the limit."""
    process, url = served(run, "limits.per_client=1000")
    try:
        return check_load(url, content, seconds, clients)
    finally:
        process.terminate()
        process.wait()


def bare(run: Path, content: bytes) -> Any:
    """Return a function that finds and scores the faces in the picture, without reasons, trials and heat maps."""
    from unmask.inference.score import Scorer
    from unmask.runs.run import Run

    place = OUT / "serve.jpg"
    place.write_bytes(content)
    scorer = Scorer(Run(run))
    return lambda: scorer.score(place)


def request(url: str, content: bytes) -> float:
    began = time.perf_counter()
    while (found := httpx.post(f"{url}/detect?wait=60", files={"file": ("a.jpg", content)}, timeout=100)).is_error:
        if found.status_code not in (429, 503):
            raise SystemExit(found.text)
        time.sleep(0.05)
    return time.perf_counter() - began


def several(url: str, content: bytes, clients: int, each: int) -> list[float]:
    """Return the duration of each request, s, while several clients send requests at the same time."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(clients) as pool:
        return list(pool.map(lambda _: request(url, content), range(clients * each)))


def described(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    return f"median {statistics.median(ordered):.3f} s, 95th percentile {ordered[int(0.95 * (len(ordered) - 1))]:.3f} s"


def served(run: Path, *more: str) -> tuple[subprocess.Popen[bytes], str]:
    command = [sys.executable, "-m", "unmask", "serve", f"run={run}", f"port={PORT}", *more]
    with LOG.open("ab") as log:  # a line per request
        process = subprocess.Popen(command, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"})
    for _ in range(600):
        try:
            httpx.get(f"http://127.0.0.1:{PORT}/health").raise_for_status()
            return process, f"http://127.0.0.1:{PORT}"
        except httpx.HTTPError:
            time.sleep(0.2)
    raise SystemExit(f"the server did not start; see {LOG}")


def cold_predict(run: Path) -> float:
    """Return the CPU time of one call of `unmask predict`, s. The exit status of the command is its answer."""
    program, file = str(Path(sys.executable).with_name("unmask")), str((OUT / "serve.jpg").absolute())
    command = [program, "predict", file, f"run={run.absolute()}", "out=c.png", "trials=false", "explain=false"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=OUT, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 10, 20):
        raise SystemExit(done.stdout + done.stderr)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _over(request: list[float], score: list[float], **bound: float) -> dict[str, Any]:
    return compare({"request": request, "bare": score}, "request", "bare", **bound)


def main() -> None:
    given = options()
    OUT.mkdir(parents=True, exist_ok=True)
    if given.load:
        import io

        from PIL import Image

        file = io.BytesIO()
        Image.new("RGB", (200, 200), (200, 150, 120)).save(file, "JPEG")  # contains no face, so it is answered fast
        check_load(given.load, file.getvalue(), given.seconds, given.clients)
        return
    import start

    content = picture()
    run = given.run or start.PLACE / "faces"
    score = bare(run, content)
    score()
    seconds: Seconds = {"bare": [], "plain": [], "full": []}
    figures: dict[str, Any] = {}
    for name, more in {"plain": ("trials=false", "explain=false"), "full": ()}.items():
        process, url = served(run, "limits.per_client=64", "limits.queue=64", *more)
        try:
            request(url, content)
            for _ in range(given.repeats):
                began = time.perf_counter()
                score()
                seconds["bare"].append(time.perf_counter() - began)
                seconds[name].append(request(url, content))
            many = several(url, content, 20, max(given.repeats // 10, 1))
            print(f"  {name}, 1 client:   {described(seconds[name])}\n  {name}, 20 clients: {described(many)}")
            figures[name] = {"one": seconds[name], "twenty": many}
        finally:
            process.terminate()
            process.wait()
    figures["load"] = under_load(run, content, given.seconds, given.clients)
    print(f"  bare network and face finder: {described(seconds['bare'])}")
    cold = [cold_predict(run) for _ in range(3)]
    half = len(seconds["bare"]) // 2
    first, second = seconds["bare"][:half], seconds["bare"][half:]
    compared = {
        "warm request, score alone": _over(seconds["plain"], first, at_most=2),
        "warm request, with trials and heat maps": _over(seconds["full"], second),
        "cold predict, CPU seconds": _over(cold, first[: len(cold)]),
    }
    report("serve", compared, packages=("fastapi", "uvicorn"), extra=figures)


if __name__ == "__main__":
    main()
