"""What the documents hold: code blocks, command lines, links; and whether a command line of `unmask` could run."""

import ast
import copy
import importlib.util
import itertools
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from hydra._internal.config_repository import ConfigRepository
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, OmegaConf

import unmask.application
import unmask.commands.evaluate
from conftest import ROOT, stand_in_codec, stand_in_run
from unmask.arguments import parse, quote
from unmask.cli import describe, verbs
from unmask.commands import evaluate, predict, sample, swap
from unmask.commands.list import kinds
from unmask.commands.train import check as check_training
from unmask.config.build import build
from unmask.config.check import resolved
from unmask.data.datamodule import DataModule, build_data
from unmask.generation.inpainting import InpaintSettings
from unmask.generation.sampler import SampleSettings
from unmask.generation.swaps import SwapSettings
from unmask.reporting import table_spec
from unmask.studies import jobs, tables

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PLACEHOLDERS = {"VERB", "KIND"}  # of a synopsis, which is no command


class Block(NamedTuple):
    """A fenced block: its language, and its text without the fences."""

    page: str
    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The file that it is the content of, by its first line."""
        found = re.match(r"(?:# @package _global_\n)?# ((?:src|conf)/\S+)\n", self.text)
        return found[1] if found else None


class Command(NamedTuple):
    """A command line, as words."""

    page: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join(self.words)}"


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)
    return [Block(name(page), language, text) for language, text in found]


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def lines(text: str) -> Iterator[list[str]]:
    """The words of each command of a shell block: without comments, `&&` apart, continued lines joined."""
    for line in text.replace("\\\n", " ").splitlines():
        if line.startswith(("unmask ", "make ")):
            words = shlex.split(line, comments=True)
            for together, part in itertools.groupby(words, lambda word: word == "&&"):
                if not together:
                    yield list(part)


def commands(page: Path) -> list[Command]:
    """All commands of `unmask` and `make` on a page, in order, those in running text last."""
    found = [words for block in blocks(page) if block.language not in ("python", "yaml") for words in lines(block.text)]
    for span in re.findall(r"`((?:unmask|make) [^`]+)`", prose(page)):
        found += lines(span)
    return [Command(name(page), tuple(words)) for words in found if not PLACEHOLDERS & set(words)]


def slugs(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


# -- Python


OUTSIDE = {"ray"}  # packages that a block may import although they are not in the lock file


def missing(module: str) -> bool:
    """Whether a module belongs to a package in `OUTSIDE` that is not installed."""
    package = module.partition(".")[0]
    return package in OUTSIDE and importlib.util.find_spec(package) is None


def check_imports(source: str) -> None:
    """Import what a block imports, and look up the attributes that it takes of these names."""
    tree, bound = ast.parse(source), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not missing(str(node.module)):
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                if not hasattr(module, alias.name):
                    importlib.import_module(f"{node.module}.{alias.name}")
                bound[alias.asname or alias.name] = getattr(module, alias.name)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                bound[alias.asname or alias.name.split(".")[0]] = importlib.import_module(alias.name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in bound:
            assert hasattr(bound[node.value.id], node.attr), f"{node.value.id} has no {node.attr}"


# -- command lines


def check_command(words: tuple[str, ...], more: list[str]) -> None:
    """Refuse a command that could not run: composed, checked, its objects built, nothing read.

    Args:
        words: of the command line, `unmask` first.
        more: overrides that are added, such as a search path.
    """
    _, verb, *arguments = words
    assert verb in verbs(), f"there is no verb {verb}"
    if {"--help", "-h"} & set(arguments):
        assert describe(verb)
        return
    given = parse(verb, arguments)
    if not given and verb not in ("demo", "list"):
        return  # the name of a verb in running text
    if verb == "list":
        _check_list(arguments)
    elif verb == "predict":
        typed = predict.typed(given)
        assert len({"run", "model"} & set(typed)) == 1, "predict takes either run or model"
        assert set(typed) <= set(predict.KEYS) and "path" in typed, f"predict takes {predict.KEYS}"
    else:
        for overrides in jobs_of(given):
            _check_verb(verb, overrides, more)


def _check_list(words: list[str]) -> None:
    assert not words or words[0] in (*kinds(), "runs"), f"there is no kind {words[0]}"


def jobs_of(given: list[str]) -> list[list[str]]:
    """Overrides of jobs of a sweep, in which each value of each key stands; of another command its own."""
    flags = [word for word in given if word.startswith("-")]
    overrides = [word for word in given if not word.startswith("-") and word != "job"]
    if not {"-m", "--multirun"} & set(flags):
        return [overrides]
    choices = []
    for text in overrides:
        parsed = OverridesParser.create().parse_override(text)
        values = list(parsed.sweep_string_iterator()) if parsed.is_sweep_override() else []
        seeds = parsed.key_or_group == "seed"  # one is as good as the other
        choices.append([f"{text.partition('=')[0]}={value}" for value in (values[:1] if seeds else values)] or [text])
    number = max(map(len, choices))
    return [[choice[at % len(choice)] for choice in choices] for at in range(number)]


def keys(overrides: list[str]) -> list[str]:
    return [text.partition("=")[0].lstrip("+~") for text in overrides]


def load(verb: str, overrides: list[str], more: list[str]) -> DictConfig:
    """The composed config without Hydra's part, whatever devices this machine has."""
    place = ["paths.out=out"] if verb in ("train", "prepare") else []
    return _loaded(verb, (*overrides, *more, *place))


# Hydra parses each file again for each config; this takes much of the time of a composition.
_parse = ConfigRepository.load_config
_parsed: dict[tuple[str, ...], ConfigResult | None] = {}


def _copied(repository: ConfigRepository, config_path: str) -> ConfigResult | None:
    key = (config_path, *(source.path for source in repository.get_sources()))
    if key not in _parsed:
        _parsed[key] = _parse(repository, config_path)
    return copy.deepcopy(_parsed[key])


@cache
def _loaded(verb: str, overrides: tuple[str, ...]) -> DictConfig:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConfigRepository, "load_config", _copied)
        return _composed(verb, overrides)


def _composed(verb: str, overrides: tuple[str, ...]) -> DictConfig:
    overrides = tuple(
        text for text in overrides if not re.match(r"hydra/launcher=ray$|\+?hydra\.launcher\.ray\.", text)
    )
    config = jobs.load(verb, list(overrides))
    here = [re.sub(r"^trainer=(gpu|ddp\w*|fsdp|slurm)$", "trainer=cpu", text) for text in overrides]
    here = [re.sub(r"^(\+\+trainer\.devices)=.*", r"\1=1", text) for text in here if "compile=" not in text]
    here = [
        re.sub(r"^(module\.(?:network\.|network\.encoder\.|loss\.)run)=.*", rf"\1={stand_in_run()}", text)
        for text in here
    ]
    here = [re.sub(r"^(module\.codec\.run)=.*", rf"\1={stand_in_codec()}", text) for text in here]
    if here != list(overrides):
        config = jobs.load(verb, here)
    OmegaConf.set_struct(config, False)
    config.pop("hydra")
    return config


def _check_verb(verb: str, overrides: list[str], more: list[str]) -> None:
    config = load(verb, overrides, more)
    if verb == "train":
        settings = check_training(config)
        _check_data(build_data(settings["data"]), overrides)
        build_offline(settings["module"])
    elif verb == "prepare":
        _check_data(_without_augment(config), overrides)
    elif verb == "demo":
        for experiment in config.experiments:
            load("train", [f"experiment={experiment}", *config.overrides], more)
    elif verb == "report" and config.get("table") is not None:
        table = table_spec.read(OmegaConf.to_container(config.table, resolve=True))
        table, extra = tables.with_seeds(table, list(config.overrides))
        for row in (row for row in table.rows if row.experiment):
            arguments = tables.arguments_of(row, row.seeds[0], extra)
            load("train", [quote(argument) for argument in arguments], more)
    elif verb == "evaluate":
        _check_evaluation(config, overrides)
    elif verb == "sample":
        _read(keys(overrides), sample.READ)
        settings = resolved(config)
        SampleSettings(settings["count"], settings["seed"], tuple(settings["attributes"]), settings["walk"])
    elif verb == "swap":
        _read(keys(overrides), swap.READ)
        settings = resolved(config)
        SwapSettings(**{key: settings[key] for key in swap.HOW})
    elif verb == "inpaint":
        settings = resolved(config)
        InpaintSettings(tuple(settings["masks"]), settings["size"])
        build(settings["data"]["source"])
        build(settings["generator"])
    needed = {"report": ("run", "table"), "swap": ("run", "video", "to")}
    needed |= dict.fromkeys(("evaluate", "sample", "serve"), ("run",)) | {"publish": ("run", "out")}
    runless = verb in ("serve", "sample") and {"model", "generator"} & set(keys(overrides))
    wanted = () if runless else needed.get(verb, ())
    there = [key for key in wanted if key in keys(overrides)]
    assert there if verb == "report" else len(there) == len(wanted), f"unmask {verb} needs {', '.join(wanted)}"


def _without_augment(config: DictConfig) -> DataModule:
    """The data as `prepare` sees it: it reads no augmentation, and the default one is for pictures, not for sound."""
    return build_data(resolved(config, "data")["data"] | {"augment": {"_target_": "unmask.data.augment.Augmentation"}})


def _read(typed: list[str], known: tuple[str, ...]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unmask.application, "given", lambda: typed)
        unmask.application.refuse_unread(known, "has no effect")


def _check_evaluation(config: DictConfig, overrides: list[str]) -> None:
    typed = keys(overrides)
    kind = "generator" if {"evaluator", "count"} & set(typed) else "detector"
    if any(key.startswith("identity.") for key in typed):
        kind = "swapper"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unmask.application, "given", lambda: typed)
        patch.setattr(unmask.commands.evaluate, "given", lambda: typed)
        evaluate.check_arguments(kind, config)
    if config.get("data") is not None:
        build(resolved(config, "data")["data"]["source"])


def _check_data(data: DataModule, overrides: list[str]) -> None:
    unread = {f"data.{key}": why for key, why in data.unread()}
    assert not unread.keys() & set(keys(overrides)), unread


def build_offline(settings: dict) -> object:
    """A module without the weights that only a download gives."""
    return _built(repr(_without_downloads(settings)))


@cache
def _built(settings: str) -> object:
    return build(ast.literal_eval(settings))


def _without_downloads(node: object) -> object:
    if isinstance(node, list):
        return [_without_downloads(value) for value in node]
    if not isinstance(node, dict):
        return node
    plain = {key: _without_downloads(value) for key, value in node.items()}
    return plain | ({"pretrained": False if plain["pretrained"] is True else None} if plain.get("pretrained") else {})


def stores(verb: str, overrides: list[str], more: list[str]) -> set[Path]:
    """The folders of crops that a command makes or reads; none of data that a generator made."""
    data = _without_augment(load(verb, overrides, more))
    return {prepared.folder for prepared, _ in data.members if prepared.source.crops is None}
