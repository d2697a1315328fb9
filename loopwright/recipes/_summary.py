"""``loopwright summary``: the model of a configuration, its layers and costs. It trains nothing and writes nothing."""

from .._seed import seed_everything
from .._summary import Summary, summary
from ..models._build import build_model
from ._classify import open_part
from ._pairs import PairSettings, open_pairs, picture_model, train_loader
from ._picture_settings import PictureSettings
from ._settings import TrainSettings


def summarize(settings: TrainSettings | PairSettings) -> Summary:
    """The model that the settings train, on batches as they say."""
    s = settings
    seed_everything(s.seed)
    if isinstance(s, PictureSettings):
        return _of_pairs(s)
    classes = open_part(s, "train").classes
    model = build_model(s.model.name, num_classes=len(classes), **s.model.arguments)
    return summary(model, (s.batch_size, 3, s.last_size, s.last_size))


def _of_pairs(s: PairSettings) -> Summary:
    """Shapes are those of a batch, since one that is made worse may be smaller."""
    loader = train_loader(s, open_pairs(s, "train"))
    batch = next(iter(loader.epoch_batches(0)))
    loader.close()
    parts = batch if loader.normalize is None else loader.normalize(batch)
    shapes = [(s.batch_size, *parts[name].shape[1:]) for name in s.input_names]
    return summary(picture_model(s), shapes if len(shapes) > 1 else shapes[0])
