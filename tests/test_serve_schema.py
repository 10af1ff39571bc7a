"""The OpenAPI description against the server: schemathesis sends what the description allows, and what it forbids."""

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from web_server import listening

pytestmark = pytest.mark.slow
OPERATIONS = {
    "POST /detect", "GET /jobs/{id}", "DELETE /jobs/{id}", "GET /jobs/{id}/events", "GET /jobs/{id}/report",
    "GET /jobs/{id}/people/{number}/{moment}/{kind}", "GET /model", "GET /health", "GET /metrics",
}  # fmt: skip


def send(operation, mode, bounds, excluded) -> int:
    """Send generated requests of one operation, check the answers, and return how many were sent."""
    sent = []

    @bounds
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case):
        sent.append(case.call_and_validate(excluded_checks=excluded))

    check()
    return len(sent)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["allowed", "forbidden"])
def test_the_description_is_true(tmp_path, mode):
    bounds = settings(
        max_examples=30, deadline=None, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    # A description cannot say which bytes are a picture: that any bytes are accepted is not expected.
    unknowable = [positive_data_acceptance]
    tested = set()
    with listening(tmp_path, upload=1, per_client=1000, queue=1000) as url:
        for found in schemathesis.openapi.from_url(f"{url}/openapi.json").get_all_operations():
            operation = found.ok()
            excluded = unknowable if operation.label == "POST /detect" else []
            if mode is GenerationMode.NEGATIVE and not operation.path_parameters and not excluded:
                continue  # there is nothing that could be wrong
            assert send(operation, mode, bounds, excluded) > 0
            tested.add(operation.label)
    unparametrised = {"GET /model", "GET /health", "GET /metrics"}
    assert tested == OPERATIONS - (unparametrised if mode is GenerationMode.NEGATIVE else set())
