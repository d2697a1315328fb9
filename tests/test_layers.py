"""The architecture's law: a file imports only from lower layers. docs/design.md draws the same picture."""

import ast
from pathlib import Path

import pytest

import loopwright

ROOT = Path(loopwright.__file__).parent

COMMON = ("_keys", "_given", "_done", "_computing")
SHARED = ("_training", "_jobs")  # what commands share
LAYERS: list[set[str]] = [
    {"_errors", "_demo", "_cursor", "_signals", "_hung_up", "_cores", "_available", "_run_order", "_variables"},
    {"_files", "_tensor_file", "_when", "_nested", "_names", "_git", "_seed", "_speed", "_progress", "_stopping",
     "_writer", "_lock", "_gauge", "_by_epoch", "_code", "_spikes", "_distributed", "_procs", "_over_ranks", "_replica",
     "_ramp", "_lr_curve", "_split", "_tee"},
    {"_split_states", "_sharding"},
    {"_yaml", "_record", "_checkpoint", "_device", "_meters", "_metrics", "_picture_metrics", "_tiled", "_overlay",
     "_sheet", "_shown", "_state", "_staging", "_watch", "_first_bad",
     "_environment", "_layer_hooks", "_meetings", "_parallel", "_profile", "_capture", "_code_copy", "_comparison",
     "_lr_runs", "_lr_plot", "_lr_dial", "_lr_tolerance", "_log_reader", "_newest", "_cut_lines"},
    {"_config", "_agenda", "_ledger", "_display", "_checkpoints", "_registry", "_resume", "_snapshot", "_stepper",
     "_restart",
     "_mentioned", "_yaml_edit", "_found_lr", "_start_file", "_run_facts", "_picture_batch", "_histograms",
     "models._small_resnet", "models._dncnn", "models._unet", "models._segmenter", "models._tta",
     "models._tiled_model",
     "optim._picture_losses", "optim._of_target", "optim._patterns", "optim._layers", "optim._schedule", "optim._course",
     "optim._lbfgs",
     "optim._together", "optim._average", "optim._batch_norm", "optim._evaluation_weights", "optim._distill"},
    {"trackers._tracker", "trackers._flat", "trackers._tail", "trackers._events"},
    {"trackers._position", "trackers._facts", "trackers._tensorboard", "trackers._mlflow", "trackers._wandb"},
    {"trackers._mirror", "trackers._by_name"},
    {"trackers._follow", "trackers._sync", "trackers._ui"},
    {"trackers._beside", "trackers._child"},
    {"trackers._apart"},
    {"trackers._mirrors", "data._turn", "data._jpeg_top", "data._jpeg_part", "data._crop_copy"},
    {"data._picture", "data._view", "data._slice", "data._jpeg", "data._normalize", "data._to_unit", "data._collate",
     "data._order", "data._strings", "data._walk",
     "data._labels", "data._places", "data._parquet", "data._faults", "data._tar", "data._shard_names",
     "data._shuffle_buffer", "data._escaped", "data._duplicates", "data._size", "data._codec", "data._fingerprint",
     "data._inventory", "data._messages", "data._incidents", "data._npy",
     "optim._groups", "optim._optimizers",
     "optim._losses", "optim._schedulers", "optim._several_losses", "optim._freeze",
     "_progress_sheet", "_weights", "models._build", "augment._random", "augment._pixels"},
    {"_trial_ranks", "_memory", "_as_found", "_run_state", "_picture_log", "_picture_rows",
     "data._transforms", "data._undecoded", "data._pack_file", "data._recipe", "data._changes", "data._rows", "data._folds",
     "data._balance", "data._part", "data._pad", "data._stored", "data._shared", "data._shard_samples",
     "data._data_text", "data._contact", "data._compiled"},
    {"data._arena", "data._posts", "data._degrade", "data._picture_file", "data._cutter"},
    {"data._shelf"},
    {"data._cached"},
    {"data._packed", "data._folder", "data._samples", "data._augment", "data._targets", "augment._member",
     "augment._sampling", "augment._colors", "data._role", "data._shard_fields", "data._shard_index",
     "data._facts", "data._data_report"},
    {"data._row_split"},
    {"data._engine", "data._board", "data._table", "data._pair", "data._pairing", "augment._geometry",
     "augment._color", "data._shards", "data._shard_walk", "data._shard_writer", "data._listing"},
    {"data._packed_pairs"},
    {"data._open"},
    {"data._reader"},
    {"data._reader_process"},
    {"data._crew"},
    {"data._ring", "data._pack", "data._paired", "data._inspect", "augment._erase", "augment._joint", "augment._rand",
     "data._source"},
    {"data._choice", "data._borrowed", "augment._mix", "data._loader_source", "data._stream_source"},
    {"data._loader", "augment._pipeline", "data._shard_stream"},
    {"data._stages", "data._statistics", "augment._by_name"},
    {"_feeder", "_keeper", "_data_notes", "_fit_batch", "_alarms", "_examiner", "_summary", "data._gathered", "_trained"},
    {"_run", "_predictions", "_trained_pictures"},
    {"_evaluation", "_restored", "_exported_model"},
    {"_exported"},
    {"_fit", "checks._verdict", "checks._probe", "checks._feed"},
    {"checks._subject", "_trial_step"},
    {"_find_lr", "checks._loss_facts", "checks._inputs", "checks._leak", "checks._pictures", "checks._agreement",
     "checks._splits", "checks._stepping"},
    {"checks._training", "checks._batches", "checks._outputs", "checks._report"},
    {"checks._learning", "checks._parameters", "checks._modes"},
    {"checks._check"},
    {"recipes._table_settings"},
    {"recipes._settings"},
    {"recipes._picture_settings", "recipes._optimisation"},
    {"recipes._tasks", "recipes._pairs"},
    {"recipes._restore", "recipes._segment"},
    {"recipes._measure", "recipes._pack"},
    {"recipes._classify", "recipes._demo", "_runs", "_stop", "_replay", "_reproduce", "_at_commit", "_follow", "_detach",
     "recipes._ejected_names"},
    {"recipes._any_task"},
    {"recipes._ejected_pieces"},
    {"recipes._ejected_loop"},
    {"recipes._ejected_pictures"},
    {"recipes._doctor", "recipes._fit_batch", "recipes._eject", "recipes._summary", "recipes._check", "recipes._find_lr"},
    {"sweeps._range", "sweeps._share", "sweeps._launch", "sweeps._outcome"},
    {"sweeps._space", "sweeps._text"},
    {"sweeps._draw"},
    {"sweeps._optuna"},
    {"sweeps._settings", "sweeps._validate"},
    {"sweeps._plan"},
    {"sweeps._store", "sweeps._process", "sweeps._importance", "sweeps._table"},
    {"sweeps._result", "sweeps._worker"},
    {"sweeps._sweep"},
    {"reports._found", "reports._curve", "reports._settings", "reports._student", "reports._thin", "reports._ticks",
     "reports._numbers", "reports._spread", "reports._colors", "reports._svg", "reports._serve", "reports._picture",
     "reports._sheets"},
    {"reports._one_run", "reports._mean"},
    {"reports._sweep_file", "reports._group"},
    {"reports._finding", "reports._lines", "reports._dots"},
    {"reports._report", "reports._chart"},
    {"reports._payload", "reports._picture_file", "reports._plot", "reports._gallery"},
    {"reports._page"},
    {"reports._write"},
    {"launch._group", "launch._sbatch_options", "launch._ray"},
    {"launch._lines", "launch._slurm"},
    {"launch._submit"},
    {f"commands.{name}" for name in COMMON},
    {f"commands.{name}" for name in SHARED},
    {f"commands.{path.stem}" for path in ROOT.glob("commands/_[a-z]*.py")}
    - {f"commands.{name}" for name in (*COMMON, *SHARED)},
    {"cli"},
    {"__main__"},
]  # fmt: skip
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
PACKAGES = (
    "",
    "augment.",
    "checks.",
    "commands.",
    "data.",
    "launch.",
    "models.",
    "optim.",
    "recipes.",
    "reports.",
    "sweeps.",
    "trackers.",
)
EXEMPT = {f"{package}__init__" for package in PACKAGES}
NO_TORCH = {
    "_errors",
    "_files",
    "_lock",
    "_stop",
    "_tee",
    "_start_file",
    "_run_state",
    "_run_facts",
    "_newest",
    "_log_reader",
    "_follow",
    "_detach",
    "_when",
    "_names",
    "_git",
    "_yaml",
    "_record",
    "_runs",
    "_replay",
    "_run_order",
    "_variables",
    "_capture",
    "_code_copy",
    "_comparison",
    "_restart",
    "_reproduce",
    "_at_commit",
    "_config",
    "_demo",
    "cli",
    *(
        name
        for names in LAYERS
        for name in names
        if name.startswith(("commands.", "launch.", "reports.", "sweeps.", "trackers."))
    ),
}


def modules() -> dict[str, Path]:
    paths = {".".join(p.relative_to(ROOT).with_suffix("").parts): p for p in ROOT.rglob("*.py")}
    return {name: path for name, path in paths.items() if name not in EXEMPT}


def imports(path: Path, name: str, *, top_only: bool = False) -> set[str]:
    """The loopwright modules and the outside packages that a file imports; type-only imports are left out."""
    found, tree = set(), ast.parse(path.read_text())
    typed = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for child in ast.walk(node)
    }
    for node in tree.body if top_only else ast.walk(tree):
        if node in typed:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            source = _absolute(node, name)
            parts = source.removeprefix("loopwright.").replace(".", "/")
            is_package = source.startswith("loopwright.") and (ROOT / parts).is_dir()
            found |= {f"{source}.{alias.name}" for alias in node.names} if is_package else {source}
    return found


def _absolute(node: ast.ImportFrom, name: str) -> str:
    if not node.level:
        return node.module or ""
    package = ["loopwright", *name.split(".")[:-1]]
    base = package[: len(package) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])


def test_every_file_has_a_layer() -> None:
    assert set(modules()) - set(LEVEL) == set()


@pytest.mark.parametrize("name", sorted(modules()))
def test_a_file_imports_only_from_lower_layers(name: str) -> None:
    for imported in imports(modules()[name], name):
        if imported.startswith("loopwright."):
            lower = imported.removeprefix("loopwright.")
            assert LEVEL[lower] < LEVEL[name], f"{name} (layer {LEVEL[name]}) imports {lower} (layer {LEVEL[lower]})"
        assert imported != "loopwright", f"{name} imports the package itself"


@pytest.mark.parametrize("name", sorted(NO_TORCH))
def test_what_the_command_line_needs_imports_no_torch(name: str) -> None:
    outside = imports(modules()[name], name, top_only=True)
    assert not {"torch", "torchvision", "numpy"} & {o.partition(".")[0] for o in outside}


RECIPES = [f"recipes.{name}" for name in ("_classify", "_restore", "_segment", "_pairs", "_optimisation")]


@pytest.mark.parametrize("name", ["_fit", *RECIPES])
def test_the_upper_faces_use_public_names_only(name: str) -> None:
    allowed = set(loopwright.__all__)
    tree = ast.parse(modules()[name].read_text())
    used = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("loopwright"))
        if not (name in RECIPES and node.level == 1)  # the settings, and what recipes share
        for alias in node.names
    }
    assert used <= allowed, f"{name} uses {sorted(used - allowed)}: export them, or do without"


def test_every_file_says_what_it_is() -> None:
    silent = [name for name, path in modules().items() if not ast.get_docstring(ast.parse(path.read_text()))]
    assert silent == []
