"""Distillation: the loss by hand, the teacher outside of the student's weights, and the run's identity."""

import copy
import math
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from conftest import TINY, compose, stand_in_run, unmask
from unmask.config.build import build
from unmask.config.check import resolved
from unmask.modules.detector import Detector
from unmask.modules.segmenter import Segmenter
from unmask.networks.cnn import ResidualCnn
from unmask.networks.front_ends import FrontEnd
from unmask.runs.checkpoints import load_weights
from unmask.runs.errors import RunError
from unmask.runs.identity import run_id
from unmask.runs.run import Run
from unmask.training.distillation import Distillation, Teacher, soft_loss
from unmask.training.losses import BCE, Outputs


def batch(seed: int = 0, size: int = 256) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    return {"x": torch.rand(6, 3, size, size, generator=random), "y": torch.tensor([0, 1, 0, 1, 0, 1])}


def student(**options: object) -> tuple[ResidualCnn, Distillation]:
    torch.manual_seed(1)
    return ResidualCnn(4), Distillation(BCE(), stand_in_run(), **options)


def test_the_soft_loss_by_hand():
    # T = 2, s = 0: p = 1/2. t = 2 log 3: q = 3/4. KL = 3/4 log(3/2) + 1/4 log(1/2), times T^2 = 4.
    found = soft_loss(torch.zeros(1), torch.tensor([2 * math.log(3)]), 2.0)
    assert found.item() == pytest.approx(4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5)), abs=1e-6)


def test_the_soft_loss_is_that_of_two_classes():
    """The softmax over the logits (0, z), whose divergence torch computes, is the binary case."""
    random = torch.Generator().manual_seed(0)
    s, t = 4 * torch.randn(16, generator=random), 4 * torch.randn(16, generator=random)
    own, target = (torch.stack([torch.zeros(16), z], 1).div(3).log_softmax(1) for z in (s, t))
    expected = 9 * nn.functional.kl_div(own, target, log_target=True, reduction="batchmean")
    torch.testing.assert_close(soft_loss(s, t, 3.0), expected)
    assert soft_loss(t, t, 3.0).item() == pytest.approx(0, abs=1e-6)


def test_the_weight_of_the_soft_loss_does_not_depend_on_a_large_temperature():
    gradients = []
    for temperature in (50.0, 100.0):
        s = torch.tensor([0.7, -1.0], requires_grad=True)
        soft_loss(s, torch.tensor([2.0, 1.0]), temperature).backward()
        gradients.append(s.grad)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-2, atol=0)


def test_labels_and_teacher_are_weighted_by_alpha():
    network, loss = student(temperature=1.0, alpha=0.25)
    given = batch()
    logit = network.eval()(given["x"])
    teacher = Run(Path(stand_in_run())).network()(given["x"])
    expected = 0.25 * BCE()(logit, given["y"].float()) + 0.75 * soft_loss(logit, teacher, 1.0)
    torch.testing.assert_close(loss.of_batch(Outputs(logit), given), expected)
    torch.testing.assert_close(loss(logit, given["y"].float()), BCE()(logit, given["y"].float()))


def test_labels_are_not_used_if_alpha_is_0():
    network, loss = student(alpha=0.0)
    given = batch()
    logit = network.eval()(given["x"])
    flipped = given | {"y": 1 - given["y"]}
    assert loss.of_batch(Outputs(logit), given) == loss.of_batch(Outputs(logit), flipped)


def test_an_ensemble_has_the_mean_logit(tmp_path):
    other = changed_run(tmp_path / "other")
    given, logit = batch(), torch.zeros(6)
    both = [Run(Path(folder)).network()(given["x"]) for folder in (stand_in_run(), other)]
    loss = Distillation(BCE(), [stand_in_run(), str(other)], alpha=0.0)
    torch.testing.assert_close(loss.of_batch(Outputs(logit), given), soft_loss(logit, sum(both) / 2, 2.0))
    assert not torch.allclose(*both)


def changed_run(folder: Path) -> Path:
    """A copy of the stand-in run with other weights."""
    shutil.copytree(stand_in_run(), folder)
    path = folder / "checkpoints" / "best.ckpt"
    state = {name: value + 0.5 if value.is_floating_point() else value for name, value in load_weights(path).items()}
    torch.save({"state_dict": state}, folder / "new.ckpt")  # not over the old file, which is mapped into memory
    (folder / "new.ckpt").replace(path)
    return folder


def test_the_gradient_reaches_the_student_only():
    network, loss = student(beta=1.0, projection=[16, 64])
    before = copy.deepcopy(loss.teachers[0]._network.on(torch.device("cpu")).state_dict())
    module = detector(network, loss)
    module.train()
    outputs = module.outputs(batch())
    assert outputs.features is not None and outputs.features.shape == (6, 16)
    loss.of_batch(outputs, batch()).backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    teacher = loss.teachers[0]._network.on(torch.device("cpu"))
    assert not teacher.training and all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    torch.testing.assert_close(teacher.state_dict(), before)  # batch norm statistics, too


def detector(network: nn.Module, loss: nn.Module) -> Detector:
    return Detector(network, loss, lambda p: torch.optim.SGD(p, 0.1), lambda o, n: None)


def test_the_teacher_is_no_part_of_the_students_weights():
    network, loss = student(beta=1.0, projection=[16, 64])
    loss.teachers[0](batch()["x"])
    names = set(detector(network, loss).state_dict())
    own = {f"network.{name}" for name in network.state_dict()}
    assert names - own == {"loss.projection.weight", "loss.projection.bias"}


def test_features_are_matched_by_a_linear_projection():
    network, loss = student(alpha=0.0, beta=2.0, projection=[16, 64])
    given = batch()
    features = network.eval().encode(given["x"])
    teacher = Run(Path(stand_in_run())).network()
    own = features @ loss.projection.weight.T + loss.projection.bias
    distance = (own - teacher.encode(given["x"])).square().mean()
    logit = network.head(features)
    expected = soft_loss(logit, teacher(given["x"]), 2.0) + 2 * distance
    torch.testing.assert_close(loss.of_batch(Outputs(logit, features), given), expected)


def test_a_wrong_projection_names_the_right_one():
    network, loss = student(beta=1.0, projection=[8, 8])
    with pytest.raises(ValueError, match=r"set module\.loss\.projection=\[16,64\]"):
        loss.of_batch(detector(network, loss).outputs(batch()), batch())


def test_the_teacher_sees_its_own_image_size():
    teacher = Teacher(stand_in_run())
    assert teacher.image_size == 256
    small = batch(size=64)["x"]
    large = nn.functional.interpolate(small, (256, 256), mode="bilinear", antialias=True).clamp(0, 1)
    torch.testing.assert_close(teacher(small).logit, Run(Path(stand_in_run())).network()(large))


def test_a_teacher_of_frames_refuses_clips():
    with pytest.raises(ValueError, match="this teacher scores frames; train the student with frames=null"):
        Teacher(stand_in_run())(torch.rand(2, 4, 3, 32, 32))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"temperature": 0.0}, "temperature=0.0: expected a number above 0"),
        ({"alpha": 1.5}, "alpha=1.5: expected a weight from 0 to 1"),
        ({"beta": -1.0}, "beta=-1.0: expected 0 or more"),
        ({"beta": 1.0}, "expected both, to match features"),
        ({"projection": [1, 2]}, "expected both, to match features"),
        ({"beta": 1.0, "projection": [3]}, "expected the number of features"),
        ({"run": []}, "expected a run"),
        ({"beta": 1.0, "projection": [1, 2], "run": ["a", "b"]}, "expected one run"),
    ],
)
def test_wrong_settings_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        Distillation(**{"labels": BCE(), "run": stand_in_run(), **options})


def test_a_run_that_is_no_detector_is_no_teacher(tmp_path):
    folder = shutil.copytree(stand_in_run(), tmp_path / "run")
    (folder / "metrics.json").write_text('{"kind": "generator"}')
    with pytest.raises(RunError, match="is a generator; expected a run of a detector"):
        Teacher(folder)


def test_networks_and_modules_that_cannot_be_distilled_are_refused():
    _, loss = student(beta=1.0, projection=[16, 64])
    with pytest.raises(ValueError, match="FrontEnd has no features"):
        detector(FrontEnd(nn.Identity(), nn.Identity()), loss)
    with pytest.raises(ValueError, match="Distillation is for module=detector"):
        Segmenter(nn.Identity(), loss, lambda p: None, lambda o, n: None)


def test_the_run_id_depends_on_the_teachers_weights_not_on_its_path(tmp_path):
    moved, other = shutil.copytree(stand_in_run(), tmp_path / "moved"), changed_run(tmp_path / "other")

    def of(run: object) -> str:
        return run_id({"module": {"loss": {"run": run}}}, "data")

    assert of(stand_in_run()) == of(str(moved)) != of(str(other))
    assert of([stand_in_run()]) != of([stand_in_run(), str(other)])
    assert run_id({"module": {"loss": {}}}, "data") == run_id({"module": {"loss": {}}}, "data") != of("missing")


def test_a_finished_student_opens_without_its_teacher():
    cfg = compose(
        "train", ["experiment=demo_celebdf/distilled_meso4", f"module.loss.run={stand_in_run()}", "paths.out=o"]
    )
    settings = resolved(cfg)["module"]
    opened = build(settings | {"loss": settings["loss"] | {"run": None}})  # as `read_config` does
    assert opened.loss.teachers == []
    with pytest.raises(ValueError, match="expected the run folder of a teacher"):
        opened.loss.of_batch(Outputs(torch.zeros(6)), batch())


ARGUMENTS = (*TINY, "trainer=cpu", "data.batch_size=8", "trainer.log_every_n_steps=1", "handling=false")


@pytest.fixture(scope="module")
def trained_runs(workplace, demo_root) -> tuple[Run, Run]:
    """A teacher, and a student of it with matched features."""
    here = (*ARGUMENTS, f"data.root={demo_root}", "trainer.max_epochs=2")
    unmask("train", "experiment=demo_celebdf/meso4", *here, "name=teacher", cwd=workplace)
    (teacher,) = (workplace / "outputs" / "teacher").iterdir()
    more = ("module.loss.beta=0.1", "module.loss.projection=[64,64]", f"module.loss.run={teacher}")
    unmask("train", "experiment=demo_celebdf/distilled_meso4", *here, *more, "name=student", cwd=workplace)
    (folder,) = (workplace / "outputs" / "student").iterdir()
    return Run(teacher), Run(folder)


@pytest.mark.slow
def test_a_student_is_trained_and_evaluated_without_its_teacher(trained_runs, workplace, demo_root):
    teacher, run = trained_runs
    hidden = teacher.folder.rename(teacher.folder.with_name("hidden"))
    try:
        before = run.predictions("test")
        unmask("evaluate", f"run={run.folder}", "trainer=cpu", cwd=workplace)
        after = run.predictions("test")
    finally:
        hidden.rename(teacher.folder)
    torch.testing.assert_close(torch.tensor(before["logit"]), torch.tensor(after["logit"]), rtol=0, atol=1e-4)
    assert not [name for name in load_weights(run.checkpoint) if "teacher" in name]


@pytest.mark.slow
def test_test_items_that_the_teacher_was_trained_on_are_refused(trained_runs, workplace, demo_root):
    teacher, _ = trained_runs
    table = teacher.predictions("test")
    path = next(teacher.folder.glob("predictions-test.parquet"))
    kept = path.read_bytes()
    try:
        from unmask.runs.predictions import write_predictions

        write_predictions(path, table.iloc[: len(table) // 2], table.attrs["protocol"], {})
        here = (*ARGUMENTS, f"data.root={demo_root}", f"module.loss.run={teacher.folder}", "name=leak")
        done = unmask("train", "experiment=demo_celebdf/distilled_meso4", *here, cwd=workplace, expect=1)
    finally:
        path.write_bytes(kept)
    assert "module.loss.run=" in done.stderr and "were in the training or validation split" in done.stderr
