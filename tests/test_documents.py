"""The documents hold: commands compose, blocks run, paths and links exist, the reference is up to date."""

import importlib.util
import inspect
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from pytorch_lightning import Trainer

import unmask.data.augment
import unmask.datasets
import unmask.networks
import unmask.training
from conftest import ROOT, SCORED, TINY
from conftest import unmask as run_verb
from documents import (
    PAGES,
    Block,
    blocks,
    build_offline,
    check_command,
    check_imports,
    commands,
    jobs_of,
    load,
    name,
    prose,
    slugs,
    stores,
)
from unmask.arguments import parse
from unmask.cli import verbs
from unmask.config import conf_dir
from unmask.runs.run import Run

pytestmark = pytest.mark.slow

README, EXTENDING = ROOT / "README.md", ROOT / "docs/extending.md"
GENERATED = "docs/configuration.md"
CONF = Path(conf_dir())
COLUMNS = ("frame/", "image/", "sample/", "video/")  # metrics of a table, which are no keys of a config
BLOCKS = [block for page in PAGES for block in blocks(page)]
COMMANDS = list(dict.fromkeys(command for page in PAGES for command in commands(page)))
PARTS = {"networks": unmask.networks, "datasets": unmask.datasets, "training": unmask.training}
QUICK = ("trainer=cpu", "trainer.max_epochs=1", "explain=0", "augment@data.augment=none")


# -- the extension files of docs/extending.md, and folders of videos


@pytest.fixture(scope="module")
def extension(tmp_path_factory) -> list[str]:
    """The files of `docs/extending.md` outside of the package, and the override that finds their configs."""
    place = tmp_path_factory.mktemp("extension")
    files = [block for block in blocks(EXTENDING) if block.file]
    with pytest.MonkeyPatch.context() as patch:
        for block in files:
            if (ROOT / str(block.file)).is_file():  # a class that is added to a file
                space = dict(vars(unmask.data.augment))
                exec(block.text, space)
                for key in space.keys() - vars(unmask.data.augment).keys():
                    patch.setattr(unmask.data.augment, key, space[key], raising=False)
                continue
            path = place / str(block.file)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
        for part, package in PARTS.items():
            patch.setattr(package, "__path__", [*package.__path__, str(place / "src/unmask" / part)])
        yield [f"hydra.searchpath=[file://{place / 'conf'}]"]
    for block in files:
        module = str(block.file).removeprefix("src/").removesuffix(".py").replace("/", ".")
        if module != "unmask.data.augment":
            sys.modules.pop(module, None)


@pytest.fixture(scope="module")
def walk(demo_root, tmp_path_factory) -> Path:
    """A folder in which the first walk of the README was taken, on rendered videos."""
    place = tmp_path_factory.mktemp("walk")
    for kind, source in (("real", "Celeb-real"), ("fake/faceswap", "Celeb-synthesis")):
        for folder in (place / "videos" / kind, place / "regions/asia" / kind.split("/")[0]):
            folder.mkdir(parents=True)
            for number, video in enumerate(sorted((demo_root / source).glob("*.mp4"))[:8]):
                shutil.copy(video, folder / f"{number:02d}.mp4")
    shutil.copy(place / "videos/real/00.mp4", place / "clip.mp4")
    (text,) = (block.text for block in blocks(README) if "clip.mp4" in block.text)
    for line in text.splitlines():
        if not line.startswith("unmask "):
            continue
        found = next((place / "outputs/first").glob("*"), Path("none")).name
        verb, *arguments = line.partition("#")[0].replace("DIR", "videos").replace("/ID", f"/{found}").split()[1:]
        extra = {"prepare": [*TINY, "prepare.num_workers=0"], "train": [*TINY, *QUICK, "data.split.val_fraction=0.3"]}
        expect = SCORED if verb == "predict" else 0
        run_verb(verb, *arguments, *extra.get(verb, []), cwd=place, expect=expect)
    return place


def test_the_first_walk_and_what_goes_on_from_it(walk, extension, monkeypatch):
    """One test, so that the walk is taken in one process only."""
    (folder,) = (walk / "outputs/first").iterdir()
    assert Run(folder).kind == "detector" and (folder / "report.html").is_file()
    assert list(walk.glob("clip*.png"))
    use_the_extension(walk, extension, folder)
    monkeypatch.chdir(walk)
    for page in sorted({block.page for block in BLOCKS if block.language == "python"}):
        run_python(page)


def use_the_extension(place: Path, extension: list[str], run: Path) -> None:
    """Prepare the new data set, train the new network on it, and score a detector of another data set on it."""
    here = ["data=mine", "data.root=regions", "data.region=asia"]
    run_verb("prepare", *extension, *here, *TINY, "prepare.num_workers=0", cwd=place)
    options = ["module/network=tiny", "module/loss=squared_hinge", "augment@data.augment=posterized", "name=tiny"]
    training = [*TINY, "trainer=cpu", "trainer.max_epochs=1", "explain=0", "data.split.val_fraction=0.3"]
    run_verb("train", *extension, *here, *training, *options, cwd=place)
    (folder,) = (place / "outputs/tiny").iterdir()
    assert set(Run(folder).predictions("test")["method"]) == {"real", "faceswap"}
    run_verb("evaluate", *extension, f"run={run}", *here, "trainer=cpu", cwd=place)
    assert set(Run(run).predictions("test", "mine")["dataset"]) == {"mine"}


def run_python(page: str) -> None:
    """Run the Python blocks of a page one after another; of those that say "not run" only look up the names."""
    space: dict = {"__name__": "__main__"}
    for block in BLOCKS:
        if block.page == page and block.language == "python" and not block.file:
            check_imports(block.text)
            scripted = "sys.argv" in block.text  # a script with arguments; tests/test_serve_files.py runs it
            if not block.text.startswith("# not run: ") and not scripted:
                exec(compile(block.text, page, "exec"), space)


def test_the_new_parts_do_what_their_docstrings_say(extension):
    settings = OmegaConf.to_container(
        load("train", ["module/network=tiny", "module/loss=squared_hinge", "data.root=DIR"], extension).module,
        resolve=True,
    )
    module = build_offline(settings)
    assert module.network(torch.rand(2, 3, 64, 64)).shape == (2,)
    assert module.loss(torch.tensor([3.0, -3.0]), torch.tensor([1.0, 0.0])) == 0
    levels = unmask.data.augment.Posterize(levels=4)(torch.rand(3, 8, 8)).unique()
    assert len(levels) <= 4


def test_a_local_file_is_read_by_every_command(tmp_path):
    (block,) = (block for block in BLOCKS if block.file == "conf/local/default.yaml")
    (tmp_path / "local").mkdir()
    (tmp_path / "local/default.yaml").write_text(block.text)
    for verb in sorted(set(verbs()) - {"list", "demo", "export", "predict", "publish", "report", "serve"}):
        data = ["data=celebdf_v2"] if verb == "evaluate" else []
        config = load(verb, data, [f"hydra.searchpath=[file://{tmp_path}]"])
        assert config.paths.data == "/data"
        assert "data" not in config or config.data.root == "/data/" + Path(config.data.root).name


# -- commands


def test_there_are_commands():
    assert len(COMMANDS) > 80
    assert {command.words[1] for command in COMMANDS if command.words[0] == "unmask"} == set(verbs())


def more_for(page: str, extension: list[str]) -> list[str]:
    return extension if page == name(EXTENDING) else []


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.words[0] == "unmask"], ids=str)
def test_a_command_could_run(command, extension):
    check_command(command.words, more_for(command.page, extension))


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.words[0] == "make"], ids=str)
def test_a_target_of_make_exists(command):
    makefile = (ROOT / "Makefile").read_text()
    for word in command.words[1:]:
        variable, equals, _ = word.partition("=")
        wanted = rf"\$\([^)]*\b{variable}\b" if equals else rf"^{word}:"
        assert re.search(wanted, makefile, re.M), f"the Makefile has no {word}"


@pytest.mark.parametrize("page", [page for page in PAGES if name(page) != GENERATED], ids=name)
def test_what_is_trained_on_was_prepared_on_the_same_page(page, extension):
    """Every training reads crops that a command before it makes, or the samples of a generator."""
    more, made = more_for(name(page), extension), set[Path]()
    for command in commands(page):
        if command.words[:2] not in (("unmask", "prepare"), ("unmask", "train")) or len(command.words) < 3:
            continue
        _, verb, *arguments = command.words
        if any("://" in argument for argument in arguments):
            continue  # crops at a URL
        for overrides in jobs_of(parse(verb, arguments)):
            folders = stores(verb, overrides, more)
            if verb == "train":
                assert folders <= made, f"{command} reads {folders - made}, which nothing on this page prepares"
            elif "check=true" not in arguments:
                made |= folders


def test_mistakes_are_reported_as_the_page_says(tmp_path):
    (text,) = (block.text for block in BLOCKS if block.text.startswith("$ unmask"))
    typed, _, told = text.partition("\n")
    words = [word.strip("'") for word in typed.removeprefix("$ unmask ").split()]
    assert run_verb(*words, cwd=tmp_path, expect=1).stderr == told


# -- names in running text


def known() -> set[str]:
    """The keys of the reference, the places of groups such as `suite@handling`, and all arguments of the Trainer."""
    found = set(re.findall(r"^\| `([\w.]+)` \|", (ROOT / GENERATED).read_text(), re.M))
    found |= set(re.findall(r"^  - \w+@(\w+):", (CONF / "train.yaml").read_text(), re.M))
    return found | {f"trainer.{key}" for key in inspect.signature(Trainer).parameters}


@pytest.mark.parametrize("page", [page for page in PAGES if name(page) != GENERATED], ids=name)
def test_keys_and_options_in_running_text_exist(page):
    keys = known()
    for span in re.findall(r"`([^`]+)`", prose(page)):
        for word in span.split() if re.fullmatch(r"(\S+=\S* ?)+", span) else ():
            key, _, value = word.partition("=")
            group = re.sub(r"^data\.parts\.\w+\.", "data.", key.split("@")[0].lstrip("+"))
            if not re.fullmatch(r"[a-z][\w./]*", group) or group.startswith(("hydra", *COLUMNS)):
                continue
            if (CONF / group).is_dir():
                option = re.fullmatch(r"[a-z][\w/]*", value)
                assert not option or value == "null" or (CONF / group / f"{value}.yaml").is_file(), f"{group}={value}"
            else:
                assert group in keys, f"there is no key {group}"


# -- paths and links


@pytest.mark.parametrize("page", [*PAGES, ROOT / "RESULTS.md", ROOT / "CHANGELOG.md"], ids=name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{name(page)}: {target}"
        assert not anchor or anchor in slugs(there), f"{name(page)}: no heading {target}"


def test_every_page_is_linked_from_the_readme():
    linked = set(re.findall(r"\]\(([^)#\s]+)", README.read_text()))
    assert {name(page) for page in PAGES if page != README} <= linked


@pytest.mark.parametrize("page", [page for page in PAGES if name(page) != GENERATED], ids=name)
def test_paths_in_the_text_exist(page):
    tops = ("src/", "conf/", "docs/", "tests/", "benchmarks/", "notebooks/")
    for path in re.findall(r"`([\w./-]+)`", prose(page)):
        if path.startswith(tops) and not re.search(r"\b[A-Z]{2,}\b", path) and not path.startswith("conf/local/"):
            assert (ROOT / path).exists(), f"{name(page)}: {path}"


# -- the pages themselves


def test_the_readme_takes_five_minutes():
    assert len(README.read_text().splitlines()) <= 180


def test_the_reference_is_up_to_date():
    spec = importlib.util.spec_from_file_location("make_configuration", ROOT / "docs/make_configuration.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    wanted = module.page()
    assert module.PAGE.read_text(encoding="utf-8") == wanted, "run python docs/make_configuration.py"
    for path in CONF.glob("*/**/*.yaml"):
        group, option = path.parent.relative_to(CONF).as_posix(), path.stem
        if option.startswith("_") or group in ("local", "table") or group.startswith("experiment"):
            continue
        section = wanted.partition(f"\n### {group}\n")[2].partition("\n### ")[0]
        assert f"\n#### {option}\n" in section, f"{path} is not in the reference"
    for preset in CONF.glob("experiment/*/*.yaml"):
        assert f"| `{preset.parent.name}/{preset.stem}` |" in wanted


def test_every_yaml_block_is_a_file_or_a_part_of_the_reference():
    assert [block for block in BLOCKS if block.language == "yaml" and block.page != GENERATED and not block.file] == []
    assert all(isinstance(block, Block) for block in BLOCKS)
