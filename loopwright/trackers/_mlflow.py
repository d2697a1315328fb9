"""``MLflow``: runs on a tracking server or in a SQLite file. Kept in a process of its own: its import alone takes seconds.

pip install 'loopwright[mlflow]'
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ._tracker import Lost, Picture, RunFacts, Scalars, Tracker

MOST_METRICS, MOST_PARAMETERS = 1000, 100  # that MLflow takes in one call
_LONGEST_KEY, _LONGEST_VALUE = 250, 6000  # letters; of a tag's value 5,000 are always taken
_STRANGE = re.compile(r"[^\w.\- :/]", re.ASCII)  # in a name
_STATES = {"finished": "FINISHED", "failed": "FAILED"}  # what else there is was cut short: KILLED
_PLOTS = (".png", ".svg", ".html")


class MLflow(Tracker):
    """MLflow: parameters, tags, metrics, pictures, and as artifacts the configuration, the log and the plots.

    A metric that is handed over again after a kill carries the same step and time, which MLflow takes for the same. Where
    the record has become another one, a new MLflow run holds it, and the old one is in MLflow's trash.

    Args:
        uri: of the tracking server, such as ``"http://host:5000"``, or of a database. Default: ``mlflow.db``, a SQLite file
            beside the run's folder, with the artifacts in ``mlflow-artifacts``.
        experiment: its name; made where it is missing. Default: the name of the folder that the run is in.
        patience: seconds that the end of a run waits.

    >>> MLflow(uri="http://localhost:5000", experiment="woof")
    MLflow(uri='http://localhost:5000', experiment='woof')
    """

    name, package, in_process = "mlflow", "mlflow", True

    def __init__(self, uri: str | None = None, experiment: str | None = None, patience: float = 30.0):
        self.uri, self.experiment, self.patience = uri, experiment, patience
        self._client: Any = None
        self._run = self._record = ""
        self._folder = Path()

    def __repr__(self) -> str:
        return f"MLflow(uri={self.uri!r}, experiment={self.experiment!r})"

    @property
    def target(self) -> str:
        return f"{self.uri or ''} {self.experiment or ''}".strip()

    @property
    def settings(self) -> dict[str, Any]:
        return {"uri": self.uri, "experiment": self.experiment, "patience": self.patience}

    def open(self, facts: RunFacts) -> None:
        from mlflow.tracking import MlflowClient

        beside = facts.folder.resolve().parent
        self._client = self._client or MlflowClient(self.uri or f"sqlite:///{beside / 'mlflow.db'}")
        self._record, self._folder = facts.id, facts.folder
        replaced = facts.replaces.get("run")
        if replaced and facts.replaces.get("record") == facts.id:  # else it shows a run that was another one
            self._discard(replaced)
        self._run = facts.kept.get("run") or self._new_run(facts, beside)
        self._describe(facts)

    def kept(self) -> Mapping[str, Any]:
        return {"run": self._run, "record": self._record}

    def scalars(self, batch: Sequence[Scalars]) -> None:
        from mlflow.entities import Metric

        metrics = [
            Metric(metric_name(name), value, round(line.time * 1000), line.step)
            for line in batch
            for name, value in line.values.items()
        ]
        for some in _chunks(metrics, MOST_METRICS):
            self._client.log_batch(self._run, metrics=some)

    def picture(self, picture: Picture) -> None:
        place = picture.path.parent.relative_to(self._folder).as_posix()
        self._client.log_artifact(self._run, str(picture.path), place)

    def artifact(self, path: Path) -> None:
        self._client.log_artifact(self._run, str(path), "plots" if path.suffix in _PLOTS else None)

    def close(self, state: str) -> None:
        self._client.set_tag(self._run, "state", state)
        self._client.set_terminated(self._run, _STATES.get(state, "KILLED"))

    # ---- a run of MLflow's -----------------------------------------------------------------------------------------

    def _new_run(self, facts: RunFacts, beside: Path) -> str:
        name = self.experiment or beside.name or "runs"
        found = self._client.get_experiment_by_name(name)
        if found is None:
            place = self._artifacts(beside)
            try:
                experiment = self._client.create_experiment(name, artifact_location=place)
            except Exception:  # another run may have been faster
                found = self._client.get_experiment_by_name(name)
                if found is None:
                    raise
                experiment = found.experiment_id
        else:
            experiment = found.experiment_id
        return self._client.create_run(experiment, run_name=facts.name).info.run_id

    def _artifacts(self, beside: Path) -> str | None:
        """Beside the database; MLflow would take the folder that one is in. A server knows a place itself."""
        if self.uri is None:
            return (beside / "mlflow-artifacts").as_uri()
        if self.uri.startswith("sqlite:///"):
            return (Path(self.uri.removeprefix("sqlite:///")).resolve().parent / "mlflow-artifacts").as_uri()
        return None

    def _describe(self, facts: RunFacts) -> None:
        """Parameters that are there cannot be changed: what a later life changed becomes a tag."""
        from mlflow.entities import Param, RunTag
        from mlflow.exceptions import MlflowException

        try:
            found = self._client.get_run(self._run)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                raise Lost(f"MLflow has no run {self._run} any more") from None
            raise
        if found.info.lifecycle_stage != "active":
            raise Lost(f"the run {self._run} is in MLflow's trash")
        there, wanted = found.data.params, parameters(facts.parameters)
        changed = {f"changed.{key}": value for key, value in wanted.items() if there.get(key, value) != value}
        tags = [RunTag(_key(key), value[:5000]) for key, value in {**facts.tags, **changed, "state": "running"}.items()]
        self._client.log_batch(self._run, tags=tags)
        new = [Param(key, value) for key, value in wanted.items() if key not in there]
        for some in _chunks(new, MOST_PARAMETERS):
            self._client.log_batch(self._run, params=some)
        if found.info.status != "RUNNING":
            self._client.update_run(self._run, status="RUNNING")

    def _discard(self, run: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.delete_run(run)
        except MlflowException:  # it is gone already
            return


def metric_name(name: str) -> str:
    """A name that MLflow takes.

    >>> metric_name("val/mse (mean)")
    'val/mse _mean_'
    """
    return _key(_STRANGE.sub("_", name).strip("/") or "_")


def parameters(flat: Mapping[str, str]) -> dict[str, str]:
    """Names and values that MLflow takes: not too long, none empty.

    >>> parameters({"b[0]": ""})
    {'b_0_': "''"}
    """
    return {metric_name(key): value[:_LONGEST_VALUE] or "''" for key, value in flat.items()}


def _key(name: str) -> str:
    return name[:_LONGEST_KEY]


def _chunks(values: Sequence[Any], most: int) -> Iterator[Sequence[Any]]:
    for begin in range(0, len(values), most):
        yield values[begin : begin + most]
