"""Read the pictures of feature maps that a training saved in its run folder (see `unmask.explain.items`)."""

from pathlib import Path

from unmask.files import read_json
from unmask.reporting.run import HeatMap, LayerMaps

FOLDER, JSON = "feature_maps", "feature_maps.json"


def read_feature_maps(run: Path) -> list[LayerMaps]:
    """Read the feature maps in a run folder, one entry per layer; empty if there are none."""
    path = run / FOLDER / JSON
    if not path.is_file():
        return []
    about = read_json(path, "delete it; the report is then written without feature maps")
    return [
        LayerMaps(
            layer["layer"],
            tuple(layer["shape"]),
            layer["channels"],
            [
                HeatMap(one["item"], one["why"], one["prob"], (path.parent / one["file"]).read_bytes())
                for one in layer["shown"]
            ],
        )
        for layer in about["layers"]
    ]
