"""``loopwright summary``: the model of a configuration, its layers and costs. It trains nothing and writes nothing."""

from .._seed import seed_everything
from .._summary import Summary, summary
from ..data._open import open_data
from ..models._build import build_model
from ._settings import TrainSettings


def summarize(settings: TrainSettings) -> Summary:
    """The model that the settings train, on batches as they say."""
    s = settings
    seed_everything(s.seed)
    train = open_data(s.data, "train", holdout=s.holdout, on_error=s.on_error)
    model = build_model(s.model.name, num_classes=len(train.classes), **s.model.arguments)
    return summary(model, (s.batch_size, 3, s.last_size, s.last_size))
