"""The table of compressed detectors: columns of cost, rows of exported files, and what is not repeated."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from conftest import TINY, unmask
from test_tables import filled, given, report, starter
from unmask.export.quantize import KINDS
from unmask.export.variant import FLOAT, OnnxNetwork
from unmask.reporting import table_render, table_spec
from unmask.reporting.cost import COLUMNS, cost
from unmask.runs.run import Run
from unmask.studies import jobs


def test_costs_have_units_and_digits():
    exported = {"size": 1.234, "memory": 56.7, "milliseconds": {"1_1": 2.345, "2_16": 0.5}, "device": "a CPU"}
    found = cost({"parameters": 15689, "flops": 3.0e7, "exported": exported})
    assert found == {
        "parameters": 15689,
        "gflops": 0.03,
        "size": 1.234,
        "memory": 56.7,
        "ms_1_1": 2.345,
        "ms_2_16": 0.5,
    }
    table = filled([f"cost/{name}" for name in COLUMNS], replace(report(0), cost=found))
    head, body = table_render.grid(table)
    shown = dict(zip(head, body[0], strict=True))
    assert shown["Parameters"] == "15,689" and shown["File, MB"] == "1.23" and shown["GFLOPs"] == "0.030"
    assert shown["ms, 1 thread, batch 1"] == "2.35" and shown["Peak memory, MB"] == "57"
    assert shown["ms, 2 threads, batch 1"] == "n/a (not computed)"


def test_wrong_costs_and_exports_are_named():
    with pytest.raises(table_spec.TableError, match="cost/speed: expected cost/METRIC, METRIC one of parameters"):
        table_spec.read({**given(), "metrics": ["video/auroc", "cost/speed"]})
    rows = [{"name": "A", "experiment": "x/a", "export": "int4"}]
    with pytest.raises(table_spec.TableError, match="row A: export: int4: expected one of float32, int8"):
        table_spec.read({**given(), "rows": rows})
    assert set(table_spec.EXPORTED) == {FLOAT, *KINDS}


@pytest.fixture(scope="module")
def trained(workplace, demo_root) -> Run:
    """A finished run of Meso4."""
    here = (
        *TINY,
        f"data.root={demo_root}",
        "trainer=cpu",
        "data.batch_size=8",
        "trainer.max_epochs=1",
        "handling=false",
    )
    unmask("train", "experiment=demo_celebdf/meso4", *here, "name=compressed", cwd=workplace)
    (folder,) = (workplace / "outputs" / "compressed").iterdir()
    return Run(folder)


@pytest.mark.slow
def test_an_exported_file_is_scored_like_its_run(trained, workplace):
    quick = ("suite.most=6", "suite.files=false")
    unmask("export", f"run={trained.folder}", "score=true", *quick, cwd=workplace)
    whole = Run(trained.folder / "exports" / FLOAT)
    for split in ("val", "test"):
        one, two = trained.predictions(split), whole.predictions(split)
        assert one["item"].tolist() == two["item"].tolist()
        np.testing.assert_allclose(one["logit"], two["logit"], atol=1e-3)
    unmask("export", f"run={trained.folder}", "score=true", "quantize=int8", *quick, cwd=workplace)
    small = Run(trained.folder / "exports" / "int8")
    assert not np.array_equal(small.predictions("test")["logit"], whole.predictions("test")["logit"])
    found = small.metrics["exported"]
    assert set(found["milliseconds"]) == {"1_1", "1_16", "2_1", "2_16"} and min(found["milliseconds"].values()) > 0
    assert found["memory"] > 0 and 0 < found["size"] < 1
    assert list((small.folder / "robustness" / "quick").glob("*.parquet"))
    said = unmask("export", f"run={trained.folder}", "score=true", "quantize=int8", cwd=workplace).stdout
    assert "already scored" in said


@pytest.mark.slow
def test_a_quantized_export_tells_accuracy_speed_and_size(trained, workplace):
    said = unmask("export", f"run={trained.folder}", "quantize=int8", "out=m.onnx", cwd=workplace).stdout
    text = " ".join(said.split())
    assert "int8:" in text and "AUC on" in text and "times as fast (quartiles" in text and "MB" in text
    assert (workplace / "m.onnx").is_file() and not list(workplace.glob("m.onnx.*"))
    network = OnnxNetwork(workplace / "m.onnx")
    logit = network(torch.full((2, 3, 64, 64), 128 / 255))
    assert logit.shape == (2,) and logit[0] == logit[1]
    done = unmask("export", f"run={trained.folder}", "quantize=int8", "format=safetensors", cwd=workplace, expect=1)
    assert "quantize=int8, format=safetensors: expected format=onnx" in done.stderr


@pytest.mark.slow
def test_the_table_trains_exports_and_does_not_repeat(workplace, demo_root, tmp_path, monkeypatch):
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs/prepared").symlink_to(workplace / "outputs/prepared")
    configs = tmp_path / "conf" / "table"
    configs.mkdir(parents=True)
    rows = [
        {"name": "Meso4", "experiment": "demo_celebdf/meso4", "export": "float32"},
        {"name": "Meso4, int8", "experiment": "demo_celebdf/meso4", "export": "int8"},
        {
            "name": "Distilled", "experiment": "demo_celebdf/distilled_meso4", "export": "float32",
            "runs": {"module.loss.run": "demo_celebdf/meso4"},
        },
    ]  # fmt: skip
    metrics = ["video/auroc", "cost/size", "cost/ms_1_1"]
    about = {"name": "tiny", "title": "T", "caption": "C", "metrics": metrics, "rows": rows}
    (configs / "tiny.yaml").write_text(json.dumps(about))
    extra = [f"data.root={demo_root}", *TINY, "trainer=smoke", "data.batch_size=8", "handling=false"]
    listed = ",".join(f"'{one}'" for one in extra)
    asked = [
        "report",
        "table=tiny",
        f"overrides=[{listed}]",
        "resamples=50",
        "run=true",
        "--config-dir",
        str(tmp_path / "conf"),
    ]
    calls: list[tuple[str, str]] = []
    start = starter(tmp_path, calls)
    quick = ("suite.most=4", "suite.files=false")
    monkeypatch.setattr(jobs, "call", lambda name, *given: start(name, *given, *(quick if name == "export" else ())))
    unmask(*asked, cwd=tmp_path)
    verbs = [name for name, _ in calls]
    assert verbs == ["train", "export", "export", "train", "export"], "the teacher is the run of the first row"
    shown = (tmp_path / "outputs/tables/tiny.md").read_text()
    assert "not run" not in shown and "| Meso4, int8 |" in shown
    calls.clear()
    unmask(*asked, cwd=tmp_path)
    assert not calls
